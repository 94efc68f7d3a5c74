import t from 'tap';
import { startGateway } from './helpers/gateway.js';

const widget = 'https://authkit.picaos.com';
const preflight = (origin: string, extra: Record<string, string> = {}) => ({
  key: null, headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-user-id, x-anything-at-all', ...extra },
});

t.test('a preflight is 204, needs no key, and allows whatever headers the browser asks for', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const answer = await gateway.request('OPTIONS', '/authkit/token', preflight(widget));
  t.equal(answer.status, 204);
  t.equal(answer.headers.get('access-control-allow-origin'), '*');
  t.equal(answer.headers.get('access-control-allow-headers'), 'x-user-id, x-anything-at-all');
  t.match(answer.headers.get('access-control-allow-methods'), /POST.*OPTIONS/);
  t.equal(answer.headers.get('access-control-allow-credentials'), null, 'no cookies');
});

t.test('only configured origins are allowed', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { CORS_ORIGINS: `${widget}, https://app.example.com` });
  for (const origin of [widget, 'https://app.example.com']) {
    t.equal((await gateway.request('OPTIONS', '/authkit/token', preflight(origin))).headers.get('access-control-allow-origin'), origin);
    const answer = await gateway.request('POST', '/authkit/token', { key: null, headers: { origin }, json: {} });
    t.equal(answer.headers.get('access-control-allow-origin'), origin, 'on errors too');
    t.match(answer.headers.get('vary'), /origin/i);
    t.match(answer.headers.get('access-control-expose-headers'), 'x-authkit-error');
  }
  for (const origin of ['https://evil.example.com', `${widget}.evil.com`, 'null', 'http://authkit.picaos.com']) {
    t.equal((await gateway.request('OPTIONS', '/authkit/token', preflight(origin))).headers.get('access-control-allow-origin'), null, origin);
    t.equal((await gateway.request('POST', '/authkit/token', { key: null, headers: { origin }, json: {} })).headers.get('access-control-allow-origin'), null);
  }
});

t.test('Chrome\'s question about private networks is answered for allowed origins only', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { CORS_ORIGINS: widget });
  const ask = async (origin: string) => (await gateway.request('OPTIONS', '/authkit/token', preflight(origin, { 'access-control-request-private-network': 'true' }))).headers;
  t.equal((await ask(widget)).get('access-control-allow-private-network'), 'true');
  t.equal((await ask('https://evil.example.com')).get('access-control-allow-private-network'), null);
});

t.test('routes that are not for browsers answer no origin', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  for (const path of ['/api-keys', '/integrations', '/metrics']) {
    t.equal((await gateway.request('OPTIONS', path, preflight(widget))).status, 405, path);
    t.equal((await gateway.request('GET', path, { headers: { origin: widget } })).headers.get('access-control-allow-origin'), null, path);
  }
});
