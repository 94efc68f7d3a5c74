import t from 'tap';
import { request } from 'undici';
import { sandbox, test } from './fixtures/harness.js';

const PATH = '/v1/vault/connections';

t.test('status, rate-limit, malformed and empty answers, each as often as asked', async (t) => {
  const { call, fault } = await sandbox(t);
  const send = () => call('GET', PATH, { headers: test });

  await fault({ path: PATH, kind: 'status', status: 503, times: 2 });
  t.match(await send(), { status: 503, json: { type: 'ServiceUnavailable', code: 2008, status: 503 } });
  t.equal((await call('GET', '/v1/users/flags', { headers: test })).status, 200, 'another path is left alone');
  t.equal((await send()).status, 503);
  t.equal((await send()).status, 200);

  await fault({ path: '^/v1/(vault|x)', kind: 'status', status: 502, body: 'Bad gateway' });
  t.match(await send(), { status: 502, text: 'Bad gateway', headers: { 'content-type': /text\/plain/ } });
  await fault({ path: PATH, kind: 'rate-limit', retryAfter: 3 });
  t.match(await send(), { status: 429, headers: { 'retry-after': '3', 'x-pica-rate-limit-remainings': '0' }, json: { code: 2009 } });
  await fault({ path: PATH, kind: 'malformed' });
  t.match(await send(), { status: 200, json: undefined, headers: { 'content-type': /json/ } });
  await fault({ path: PATH, kind: 'undefined-body' });
  t.match(await send(), { status: 200, text: '' });

  await fault({ path: PATH, method: 'DELETE', kind: 'status' });
  t.equal((await send()).status, 200, 'another method is left alone');
  t.match((await call('GET', '/__control/faults')).json.rows, [{ method: 'DELETE', remaining: 1 }]);
  await call('DELETE', '/__control/faults');
  t.same((await call('GET', '/__control/faults')).json.rows, []);
});

t.test('delay, hang, stall and reset', async (t) => {
  const { url, call, fault } = await sandbox(t);

  await fault({ path: PATH, kind: 'delay', ms: 60 });
  const before = Date.now();
  t.equal((await call('GET', PATH, { headers: test })).status, 200);
  t.ok(Date.now() - before >= 55);

  await fault({ path: PATH, kind: 'hang' });
  await t.rejects(request(url + PATH, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });

  await fault({ path: PATH, kind: 'reset' });
  await t.rejects(request(url + PATH), { code: /ECONNRESET|UND_ERR_SOCKET/ });

  await fault({ path: PATH, kind: 'reset', afterBytes: 100 });
  const cut = await request(url + PATH);
  const chunks: Buffer[] = [];
  await t.rejects(async () => {
    for await (const chunk of cut.body) chunks.push(chunk);
  });
  t.equal(Buffer.concat(chunks).length, 100);

  await fault({ path: PATH, kind: 'stall', afterBytes: 10 });
  const stalled = await request(url + PATH, { bodyTimeout: 50 });
  await t.rejects(stalled.body.text(), { code: 'UND_ERR_BODY_TIMEOUT' });

  const recorded = (await call('GET', `/__control/requests?path=${PATH}`)).json.rows;
  t.same(recorded.map((row: { aborted: boolean }) => row.aborted), [false, true, true, true, true]);
});

t.test('what is not a fault is refused', async (t) => {
  const { fault } = await sandbox(t);
  t.equal((await fault({ path: PATH, kind: 'earthquake' })).status, 422);
  t.equal((await fault({ path: '^(', kind: 'hang' })).status, 400);
  t.equal((await fault({ kind: 'hang' })).status, 422);
});
