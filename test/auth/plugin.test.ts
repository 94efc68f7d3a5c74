import fastify from 'fastify';
import t from 'tap';
import { authPlugin } from '../../src/auth/plugin.js';
import { createFront } from '../../src/http/front.js';
import { requestLog } from '../../src/observability/request-log.js';

t.test('a route that declares no access stops the boot, whatever its URL', async (t) => {
  for (const url of ['/new', '/docs-of-ours', '/docs/private']) {
    const app = fastify();
    await app.register(requestLog, { front: createFront({ maxConnections: 1, mayOverlap: () => false }) });
  await app.register(authPlugin, { authenticator: { authenticate: () => Promise.reject(new Error('unused')), mentionsCredential: () => false }, noteUse: () => {} });
    t.throws(() => app.get(url, async () => 'open'), /declares no access/, url);
    await app.close();
  }
});
