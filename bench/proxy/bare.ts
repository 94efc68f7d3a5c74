// The contender to measure by: @fastify/http-proxy as its README shows it. No keys, no database, no log.
import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';

const [port, upstream] = process.argv.slice(2);
const app = fastify();
await app.register(httpProxy, { upstream: upstream!, prefix: '/proxy', rewritePrefix: '/v1/passthrough' });
await app.listen({ port: Number(port), host: '127.0.0.1' });
