import { METHODS } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { admit } from '../caller.js';
import { headerPairs } from '../control/recordings.js';
import type { SandboxState } from '../state.js';
import { customActions } from './custom.js';
import { echo } from './echo.js';
import { json, type Provider, type ProviderAnswer, type ProviderCall } from './provider.js';
import { realistic } from './providers/index.js';
import { sendAnswer } from './send.js';
import { resolveTarget } from './target.js';
import { utility } from './utility.js';

/** `ANY /v1/passthrough/*`. app.ts routes every such URL to `/v1/passthrough`, so that the router never decodes the provider's path. */
export async function passthroughRoutes(app: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const known = new Set(app.supportedMethods);
  for (const method of METHODS) {
    if (method !== 'CONNECT' && !known.has(method)) app.addHttpMethod(method, { hasBody: true });
  }

  const serve = async (request: FastifyRequest, reply: FastifyReply) => {
    const caller = admit(state, request, reply);
    const target = resolveTarget(state, request, caller);
    const rawHeaders = headerPairs(request.raw.rawHeaders);
    const answer = await provide(state, { ...target, url: request.originalUrl, rawHeaders, body: request.raw });
    const own = reply.getHeaders();
    reply.hijack();
    await sendAnswer(reply.raw, answer, { prefix: caller.prefix, own, bodiless: request.method === 'HEAD' });
  };

  // Served from onRequest, ahead of Fastify's own handling of bodies: no parser, no limit, no opinion on the content type.
  app.all('/v1/passthrough', { onRequest: serve }, () => undefined);
}

async function provide(state: SandboxState, call: ProviderCall): Promise<ProviderAnswer> {
  const providers: Provider[] = [utility, customActions(state.vault), deadCredential, ...(state.settings.provider === 'realistic' ? [realistic] : [])];
  for (const provider of providers) {
    const answer = await provider(call);
    if (answer) return answer;
  }
  return (await echo(call)) as ProviderAnswer;
}

/** A `failed` connection's token is dead, and it is the provider who says so. */
const deadCredential: Provider = ({ connection }) =>
  connection.state === 'failed' ? json({ error: { code: 401, message: 'Token has been expired or revoked.' } }, 401) : undefined;
