import t, { type Test } from 'tap';
import { createAdmission } from '../../src/proxy/admission.js';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
for (const identity of ['ada', 'mallory', 'trudy']) await storeConnection({ database }, 'gmail', identity);

/** A gateway whose upstream never ends its answers to `/endless`, and answers the rest. */
function start(t: Test, overrides: Record<string, string>): Promise<Gateway> {
  return startUpstream(t, (request, response) => {
    request.resume();
    response.writeHead(200, { 'x-pica-passthrough-a': 'b' });
    if (request.url!.endsWith('endless')) response.write('data: 1\n\n');
    else response.end('ok');
  }).then((upstream) => startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off', ...overrides }, database));
}

/** Opens an endless answer, which stays open until the test ends; its status. */
async function hold(t: Test, gateway: Gateway, identity: string): Promise<number> {
  const leaving = new AbortController();
  t.teardown(() => leaving.abort());
  const response = await fetch(`${gateway.url}/proxy/gmail/endless`, { headers: { 'x-api-key': rootKey, 'x-user-id': identity }, signal: leaving.signal });
  return response.status;
}

t.test('two identities with endless answers leave slots for others', async (t) => {
  const gateway = await start(t, { PROXY_MAX_IN_FLIGHT: '32' });
  const held = { mallory: 0, trudy: 0 };
  for (const identity of ['mallory', 'trudy'] as const) {
    while (held[identity] < 40 && await hold(t, gateway, identity) === 200) held[identity] += 1;
  }
  t.same(held, { mallory: 24, trudy: 1 }, 'a share of its own each, and more while others leave slots');
  const answers = await Promise.all(Array.from({ length: 22 }, () => gateway.request('GET', '/proxy/gmail/x', { headers: { 'x-user-id': 'ada' } })));
  t.ok(answers.some(({ status }) => status === 200));
  for (let i = 0; i < 22; i += 1) t.equal((await gateway.request('GET', '/proxy/gmail/x', { headers: { 'x-user-id': 'ada' } })).status, 200);
});

t.test('PROXY_MAX_DURATION_MS ends what lasts longer, and so that it cannot be taken for whole', async (t) => {
  const gateway = await start(t, { PROXY_MAX_DURATION_MS: '500' });
  const response = await fetch(`${gateway.url}/proxy/gmail/endless`, { headers: { 'x-api-key': rootKey, 'x-user-id': 'ada' } });
  t.equal(response.status, 200);
  await t.rejects(response.text());
  await until(async () => /^proxy_in_flight 0$/m.test((await gateway.request('GET', '/metrics')).text));
  t.match((await gateway.request('GET', '/metrics')).text, /^proxy_calls_total\{platform="gmail",method="GET",outcome="broken_off"\} 1$/m);
  t.equal((await gateway.request('GET', '/proxy/gmail/x', { headers: { 'x-user-id': 'ada' } })).text, 'ok');
  const hanging = await startUpstream(t, () => {});
  const patient = await startGateway(t, hanging.url, { ACTION_RESOLUTION: 'off', PROXY_MAX_DURATION_MS: '500' }, database);
  t.match(await patient.request('GET', '/proxy/gmail/x', { headers: { 'x-user-id': 'ada' } }), { status: 504, json: { code: 'upstream_timeout' } });
});

t.test('calls that last are counted apart, and leave their slots to others', async (t) => {
  const admission = createAdmission(32, { streamAfterMs: 50 });
  t.teardown(() => admission.close());
  const refuses = (owner: string) => {
    try {
      return void admission.enter(owner, 'gmail').leave();
    } catch (error) {
      t.match(error, { code: 'overloaded', extras: { headers: { 'retry-after': '1' } } });
      return true;
    }
  };
  const slots = Array.from({ length: 24 }, () => admission.enter('mallory', 'gmail'));
  t.ok(refuses('mallory'));
  await until(() => admission.streams() === 24);
  t.equal(admission.inFlight(), 24);
  const again = admission.enter('mallory', 'gmail');
  t.ok(refuses('mallory'), 'what it has already counts: no more than its share');
  const others = Array.from({ length: 23 }, () => admission.enter('ada', 'gmail'));
  t.ok(refuses('ada'));
  await until(() => admission.streams() === 25, 30_000);
  t.equal(admission.inFlight(), 48, 'there, too, one identity leaves room for others: the rest keep their slots');
  for (const slot of [...slots, again, ...others]) {
    slot.leave();
    slot.leave();
  }
  t.same([admission.inFlight(), admission.streams()], [0, 0]);
  const full = Array.from({ length: 28 }, (_, i) => admission.enter(`identity ${i}`, 'gmail'));
  t.ok(refuses('one more'), 'nor does one platform get every slot');
  for (const slot of full) slot.leave();
});
