import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type from 'typebox';
import { findPlatform } from './catalogue/platforms.js';
import { ApiError } from './errors.js';
import type { SandboxState } from './state.js';
import { widgetRecord } from './vault/shapes.js';

const PAGE = new URL('./widget/', import.meta.url);
const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

const ConnectBody = Type.Object({
  proof: Type.String(),
  platform: Type.String(),
  name: Type.Optional(Type.String({ maxLength: 128 })),
  form: Type.Optional(Type.Record(Type.String(), Type.String())),
});

/** The page the real widget opens in its iframe, and the call with which it stores a connection. */
export async function widgetRoutes(instance: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();

  app.get('/', async (_request, reply) => sendFile(reply, 'index.html'));
  app.get<{ Params: { file: string } }>('/widget/:file', async (request, reply) => sendFile(reply, request.params.file));
  app.get('/favicon.ico', async (_request, reply) => reply.code(204).send());

  app.post('/widget/connections', { schema: { body: ConnectBody } }, async (request) => {
    const { proof, platform: id, name, form } = request.body;
    const owner = state.links.owner(proof);
    if (!owner) throw new ApiError('Unauthorized', 'This session has expired. Please start again.');
    const platform = findPlatform(id);
    if (!platform) throw new ApiError('NotFound', `Unknown platform ${id}`);
    if (!platform.oauth) checkApiKey(form?.apiKey, platform.name);
    return widgetRecord(state.vault.create({ ...owner, platform, name: name?.trim() || undefined }));
  });
}

function checkApiKey(apiKey: string | undefined, name: string): void {
  if (!apiKey?.trim()) throw new ApiError('BadRequest', `An API key is needed to connect ${name}.`);
  if (apiKey.includes('invalid')) throw new ApiError('BadRequest', `${name} did not accept this API key.`);
}

async function sendFile(reply: FastifyReply, file: string): Promise<FastifyReply> {
  const type = CONTENT_TYPES[extname(file)];
  // A plain name only: no separator, no leading dot, so nothing outside the folder can be named.
  if (type === undefined || !/^[a-z0-9][a-z0-9.-]*$/.test(file)) throw new ApiError('NotFound', 'No such file');
  const content = await readFile(new URL(file, PAGE)).catch(() => undefined);
  if (content === undefined) throw new ApiError('NotFound', 'No such file');
  return reply.type(type).header('cache-control', 'no-cache').send(content);
}
