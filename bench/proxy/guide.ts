// The handler of the integration guide: two queries, fetch, the answer's JSON in a document of its own.
import fastify from 'fastify';
import { digestKey } from '../../src/auth/key-format.js';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';

const [port, upstream, key, databaseUrl] = process.argv.slice(2);
const database = await openDatabase({ url: databaseUrl || undefined, poolSize: 10, dataDir: undefined });
await applyMigrations(database);
const { prisma } = database;
await prisma.apiKey.create({ data: { name: 'bench', digest: digestKey(key!), hint: 'agk_', scopes: ['proxy'] } });
await prisma.userConnection.create({ data: { identity: 'guide', platform: 'bench', key: 'test::bench::default::00000000000000000000000000000001', environment: 'test' } });

const app = fastify();
app.all('/proxy/:platform/*', async (request, reply) => {
  const apiKey = await prisma.apiKey.findUnique({ where: { digest: digestKey(String(request.headers['x-api-key'])) } });
  if (!apiKey) return reply.code(401).send({ error: 'unauthorized' });
  const { platform, '*': path } = request.params as { platform: string; '*': string };
  const connection = await prisma.userConnection.findFirst({ where: { identity: 'guide', platform } });
  if (!connection) return reply.code(404).send({ error: 'no connection' });
  const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
  const response = await fetch(`${upstream}/v1/passthrough/${platform}/${path}`, {
    method: request.method, headers: { 'x-pica-secret': 'sk_test_bench', 'x-pica-connection-key': connection.key, 'content-type': 'application/json' },
    ...(hasBody ? { body: JSON.stringify(request.body) } : {}),
  });
  return reply.code(response.status).send({ data: await response.json() });
});
await app.listen({ port: Number(port), host: '127.0.0.1' });
