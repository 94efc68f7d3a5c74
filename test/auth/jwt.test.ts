import { generateKeyPair } from 'jose';
import t from 'tap';
import { createJwtAuthenticator } from '../../src/auth/jwt.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';
import { startIdentityProvider } from '../helpers/identity-provider.js';
import { testConfig } from '../helpers/gateway.js';

t.setTimeout(300_000);

t.test('a JWT opens what a session opens, for the identity it names', async (t) => {
  const provider = await startIdentityProvider(t);
  const { gateway, sandbox } = await startBoth(t, { ...provider.env, AUTH_JWT_IDENTITY_CLAIM: 'org', AUTH_JWT_IDENTITY_TYPE_CLAIM: 'https://example.com/type' });
  const as = async (claims: Record<string, unknown>) => asBearer(gateway, await provider.sign(claims));

  const acme = await as({ org: 'acme', 'https://example.com/type': 'organization' });
  const { claim } = await claimOf(sandbox, 'acme', 'gmail', { identityType: 'organization' });
  t.match(await acme('POST', '/connections', { json: claim }), { status: 201, json: { identity: 'acme', identityType: 'organization' } });
  t.match(await acme('GET', '/connections'), { status: 200, json: { rows: [{ platform: 'gmail', identity: 'acme' }] } });
  t.equal((await acme('POST', '/authkit/token')).status, 200);
  t.same((await (await as({ org: 'acme' }))('GET', '/connections')).json.rows, [], 'without the type claim: a user');
  for (const claims of [{}, { org: '' }, { org: 7 }, { org: ['acme'] }, { org: 'x'.repeat(129) }, { org: 'a\nb' }, { org: ' acme' }, { org: 'acme\u3000' }, { org: '\ufeffacme' }, { org: 'acme', 'https://example.com/type': 'robot' }]) {
    t.equal((await (await as(claims))('GET', '/connections')).status, 401, JSON.stringify(claims));
  }
  t.equal((await (await as({ org: 'acme' }))('DELETE', '/connections/01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87')).json.code, 'insufficient_scope');

  const { token } = await openSession(gateway, { identity: 'acme' });
  t.equal((await asBearer(gateway, token)('GET', '/connections')).status, 200, 'sessions go on working beside it');
});

t.test('without a provider a JWT is an unknown credential', async (t) => {
  const provider = await startIdentityProvider(t);
  const { gateway } = await startBoth(t);
  t.equal((await asBearer(gateway, await provider.sign())('GET', '/connections')).status, 401);
  t.equal(provider.asked(), 0);
});

t.test('keys', async (t) => {
  const provider = await startIdentityProvider(t);
  let now = Date.now();
  const authenticate = createJwtAuthenticator(testConfig('http://127.0.0.1:9', provider.env).jwt!, () => now);

  await t.test('are asked for once, and rotated without a restart', async (t) => {
    const old = await provider.sign();
    await Promise.all([authenticate(old), authenticate(old), authenticate(old)]);
    await authenticate(old);
    t.equal(provider.asked(), 1);
    await provider.rotate({ keepOld: true, alg: 'RS256' });
    t.match(await authenticate(await provider.sign()), { kind: 'jwt', identity: { identity: 'ada', identityType: 'user' } }, 'the new one at once');
    await authenticate(old);
    t.equal(provider.asked(), 2);
  });

  await t.test('that are withdrawn stop within minutes, also when nobody called for a day', async (t) => {
    for (const wait of [5 * 60_000 + 1, 86_400_000]) {
      const withdrawn = await provider.sign({ exp: Math.floor(now / 1000) + 2 * 86_400 });
      t.ok(await authenticate(withdrawn));
      await provider.rotate();
      t.ok(await authenticate(withdrawn), 'not known yet');
      now += wait;
      const before = provider.asked();
      for (const _ of [1, 2, 3]) await t.rejects(authenticate(withdrawn), { code: 'unauthorized' }, `after ${wait} ms`);
      t.ok(provider.asked() - before <= 2);
    }
  });

  await t.test('of a token that does not name its own: all that fit are tried', async (t) => {
    const first = provider.current();
    await provider.rotate({ keepOld: true });
    const soon = Math.floor(now / 1000) + 300;
    await authenticate(await provider.sign({ exp: soon }));
    const nameless = (key = provider.current()) => provider.sign({ exp: soon }, { kid: undefined as unknown as string }, key);
    t.match(await authenticate(await nameless()), { identity: { identity: 'ada' } });
    t.match(await authenticate(await nameless(first)), { identity: { identity: 'ada' } });
    await t.rejects(authenticate(await provider.sign({ exp: soon - 1_000 }, { kid: undefined as unknown as string })), { code: 'unauthorized' }, 'the claims are checked all the same');
    const thief = await generateKeyPair('ES256');
    await t.rejects(authenticate(await provider.sign({ exp: soon }, { kid: undefined as unknown as string }, thief)), { code: 'unauthorized' });
  });

  await t.test('known ones go on working while the provider is away; unknown ones are 503, and never accepted', async (t) => {
    now += 60_000;
    const known = await provider.sign({ exp: Math.floor(now / 1000) + 3600 });
    await authenticate(known);
    provider.fail(true);
    now += 10 * 60_000;
    const before = provider.asked();
    for (let round = 0; round < 10; round += 1) t.ok(await authenticate(known));
    t.equal(provider.asked() - before, 1, 'and do not wait for it with every call');
    await provider.rotate();
    const unknown = await provider.sign({ exp: Math.floor(now / 1000) + 3600 });
    for (let round = 0; round < 10; round += 1) {
      await t.rejects(authenticate(unknown), { code: 'identity_provider_unavailable', status: 503 });
    }
    provider.fail(false);
    now += 10_000;
    t.ok(await authenticate(unknown), 'and it recovers by itself');
  });

  await t.test('the token of a withdrawn one is told so, without asking the provider every time', async (t) => {
    const withdrawn = await provider.sign({ exp: Math.floor(now / 1000) + 3600 });
    await provider.rotate();
    await authenticate(await provider.sign({ exp: Math.floor(now / 1000) + 3600 }));
    const before = provider.asked();
    for (let round = 0; round < 20; round += 1) await t.rejects(authenticate(withdrawn), { code: 'unauthorized' });
    t.ok(provider.asked() - before <= 1);
  });

  await t.test('a provider that was never reached leaves no token in', async (t) => {
    provider.fail(true);
    const cold = createJwtAuthenticator(testConfig('http://127.0.0.1:9', provider.env).jwt!);
    await t.rejects(cold(await provider.sign()), { code: 'identity_provider_unavailable' });
    const nobody = createJwtAuthenticator({ ...testConfig('http://127.0.0.1:9', provider.env).jwt!, jwksUrl: 'http://127.0.0.1:9/jwks' });
    await t.rejects(nobody(await provider.sign()), { code: 'identity_provider_unavailable' });
  });
});

t.test('thirty seconds of leeway, for exp and nbf', async (t) => {
  const provider = await startIdentityProvider(t);
  const authenticate = createJwtAuthenticator(testConfig('http://127.0.0.1:9', provider.env).jwt!);
  const at = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
  t.ok(await authenticate(await provider.sign({ exp: at(-25) })));
  await t.rejects(authenticate(await provider.sign({ exp: at(-35) })), { code: 'unauthorized' });
  t.ok(await authenticate(await provider.sign({ nbf: at(25) })));
  await t.rejects(authenticate(await provider.sign({ nbf: at(35) })), { code: 'unauthorized' });
});
