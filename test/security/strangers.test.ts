import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { generateKey, generateToken } from '../../src/auth/key-format.js';
import { createKeySet } from '../../src/auth/jwks.js';
import { createStrangers, lookUpsAtOnce } from '../../src/auth/strangers.js';
import { Problem } from '../../src/errors.js';
import { openTestDatabase } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';
import { asBearer, openSession } from '../helpers/trust.js';

t.setTimeout(300_000);
const unknown = (): never => {
  throw new Problem('unauthorized', 'unknown');
};

t.test('however many strangers ask, a few look-ups run at once, and who is known does not wait for them', async (t) => {
  for (const [poolSize, atOnce] of [[undefined, 1], [1, 1], [3, 1], [5, 3], [10, 4], [1000, 4]] as const) t.equal(lookUpsAtOnce(poolSize), atOnce);
  const strangers = createStrangers({ atOnce: 3, failuresPerMinute: 0 });
  const known = { ip: '192.0.2.1' };
  t.equal(await strangers.lookUp(known, 'known', async () => 'first'), 'first');
  const answer: (() => void)[] = [];
  let [running, most] = [0, 0];
  const ask = (ip: string, digest: string) => strangers.lookUp({ ip }, digest, async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise<void>((resolve) => answer.push(resolve));
    running -= 1;
    return unknown();
  }).catch((error: Problem) => error.code);
  const asked = Array.from({ length: 300 }, (_, index) => ask('198.51.100.1', `stranger-${index}`));
  t.equal(await strangers.lookUp(known, 'known', async () => 'again'), 'again', 'before any stranger has its answer');
  const other = ask('203.0.113.9', 'another address');
  while (answer.length > 0) {
    answer.shift()!();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const codes = await Promise.all(asked);
  t.equal(most, 3);
  t.equal(codes.filter((code) => code === 'unauthorized').length, 3 + 192, 'so many of one address wait in line');
  t.equal(codes.filter((code) => code === 'service_unavailable').length, 300 - 3 - 192);
  t.equal(await other, 'unauthorized', 'and another address still gets its turn');
});

t.test('an address with too many failures is not looked up until its minute is over; IPv6 counts by network', async (t) => {
  let at = 0;
  const strangers = createStrangers({ atOnce: 2, failuresPerMinute: 3, now: () => at });
  let looked = 0;
  const ask = (ip: string, digest: string) => strangers.lookUp({ ip }, digest, async () => {
    looked += 1;
    return unknown();
  }).then(() => 'found', (error: Problem) => error);
  for (const addresses of [['192.0.2.7', '::ffff:192.0.2.7'], ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9']]) {
    looked = 0;
    for (let round = 0; round < 3; round += 1) t.match(await ask(addresses[round % 2]!, `a-${round}`), { code: 'unauthorized' });
    for (const address of addresses) t.match(await ask(address, 'b'), { code: 'rate_limited', extras: { headers: { 'retry-after': '60' } } });
    t.equal(looked, 3);
    t.match(await ask('192.0.2.8', 'c'), { code: 'unauthorized' }, 'another one is');
    at += 60_000;
    t.match(await ask(addresses[0]!, 'd'), { code: 'unauthorized' });
    at += 60_000;
  }
});

t.test('random keys and sessions against a gateway', async (t) => {
  const database = await openTestDatabase(t);
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { AUTH_FAILURES_PER_MINUTE: '10' }, database);
  const good = await gateway.createKey(['connections:read']);
  const { token } = await openSession(gateway, { identity: 'ada' });
  t.equal((await asBearer(gateway, token)('GET', '/connections')).status, 200);
  t.equal((await gateway.request('GET', '/connections', { key: good })).status, 200);
  const answers = [];
  for (let round = 0; round < 15; round += 1) {
    const headers: Record<string, string> = { 'x-forwarded-for': `198.51.100.${round}`, forwarded: `for=198.51.100.${round}` };
    answers.push(round % 2 === 0 ? await gateway.request('GET', '/connections', { key: generateKey(), headers })
      : await asBearer(gateway, generateToken('ags_'))('GET', '/connections', { headers }));
  }
  t.same(answers.map(({ status }) => status), [...Array<number>(10).fill(401), ...Array<number>(5).fill(429)], 'what x-forwarded-for says counts for nothing');
  t.match(answers.at(-1)!.json, { code: 'rate_limited' });
  t.ok(Number(answers.at(-1)!.headers.get('retry-after')) > 0);
  t.equal((await gateway.request('GET', '/connections', { key: good })).status, 200, 'a key that is known goes on');
  t.equal((await asBearer(gateway, token)('GET', '/connections')).status, 200, 'and so does a session');
  t.equal((await gateway.request('GET', '/connections')).status, 200, 'and the root key');

  const behind = await startGateway(t, 'http://127.0.0.1:9', { AUTH_FAILURES_PER_MINUTE: '2', TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.1' }, database);
  const from = async (forwarded: string) => (await behind.request('GET', '/connections', { key: generateKey(), headers: { 'x-forwarded-for': forwarded } })).status;
  t.same([await from('192.0.2.1'), await from('6.6.6.6, 192.0.2.1'), await from('7.7.7.7, 192.0.2.1, 10.0.0.1'), await from('192.0.2.2')], [401, 401, 429, 401],
    'behind a proxy it is the address that the proxy saw, whatever the client said before');
});

t.test('an identity provider that answers without end is left after a megabyte', async (t) => {
  let sent = 0;
  let begin!: (port: number) => void;
  const port = new Promise<number>((resolve) => (begin = resolve));
  const closed = new Promise<void>((resolve) => {
    const server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const chunk = Buffer.alloc(65_536, ' ');
      const more = (): void => {
        while (!response.destroyed && sent < 400_000_000) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
        response.end();
      };
      response.on('close', resolve);
      more();
    });
    server.listen(0, '127.0.0.1', () => begin((server.address() as AddressInfo).port));
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
  });
  const find = createKeySet(`http://127.0.0.1:${await port}/jwks.json`);
  await t.rejects(Promise.resolve(find({ alg: 'RS256', kid: 'a' }, { payload: '', signature: '' })), { code: 'identity_provider_unavailable' });
  await closed;
  t.ok(sent < 50_000_000, `${sent} bytes were taken off the provider`);
});
