import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import t from 'tap';
import { asBearer, startBoth } from '../helpers/trust.js';
import { startIdentityProvider } from '../helpers/identity-provider.js';

t.setTimeout(300_000);

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

t.test('attacks with a JWT', async (t) => {
  const provider = await startIdentityProvider(t);
  await provider.rotate({ alg: 'RS256' });
  const { gateway } = await startBoth(t, provider.env);
  const list = (token: string) => asBearer(gateway, token)('GET', '/connections');
  const good = await provider.sign();
  t.equal((await list(good)).status, 200, 'a good one works');
  const { env } = provider;
  const claims = { iss: env['AUTH_JWT_ISSUER'], aud: env['AUTH_JWT_AUDIENCE'], sub: 'ada', exp: Math.floor(Date.now() / 1000) + 300 };
  const { kid, publicPem } = provider.current();
  const thief = await generateKeyPair('RS256', { extractable: true });
  const thiefsKeys = createServer(async (_request, response) => {
    reached += 1;
    response.end(JSON.stringify({ keys: [{ ...(await exportJWK(thief.publicKey)), kid, alg: 'RS256' }] }));
  });
  let reached = 0;
  await new Promise<void>((resolve) => thiefsKeys.listen(0, '127.0.0.1', resolve));
  t.teardown(() => thiefsKeys.close());
  const elsewhere = `http://127.0.0.1:${(thiefsKeys.address() as AddressInfo).port}/jwks.json`;

  const attacks: [string, string][] = [
    ['alg none', `${base64({ alg: 'none', kid })}.${base64(claims)}.`],
    ['alg None, with another\'s signature', `${base64({ alg: 'None', kid })}.${base64(claims)}.${good.split('.')[2]}`],
    ['HS256 with the public key as its secret', await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid }).sign(new TextEncoder().encode(publicPem))],
    ['HS256 with the public key, without a kid', await new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(publicPem))],
    ['another issuer', await provider.sign({ iss: 'https://login.example.com' })],
    ['no issuer', await provider.sign({ iss: undefined as unknown as string })],
    ['another audience', await provider.sign({ aud: 'another-api' })],
    ['no audience', await provider.sign({ aud: undefined as unknown as string })],
    ['an end that has passed', await provider.sign({ exp: Math.floor(Date.now() / 1000) - 60 })],
    ['no end', await provider.sign({ exp: undefined as unknown as number })],
    ['a kid nobody has', await provider.sign({}, { kid: 'another' })],
    ['a kid that is a path', await provider.sign({}, { kid: '../../../../dev/null' })],
    ['a kid that is a URL of the thief\'s', await provider.sign({}, { kid: elsewhere }, thief)],
    ['a jku of the thief\'s', await provider.sign({}, { kid, jku: elsewhere }, thief)],
    ['an x5u of the thief\'s', await provider.sign({}, { kid, x5u: elsewhere }, thief)],
    ['a jwk in the token itself', await provider.sign({}, { kid, jwk: await exportJWK(thief.publicKey) }, thief)],
    ['a jwk in the token itself, without a kid', await provider.sign({}, { kid: undefined as unknown as string, jwk: await exportJWK(thief.publicKey) }, thief)],
    ['a crit nobody understands', await provider.sign({}, { kid, crit: ['x'], x: 1 } as never).catch(() => `${base64({ alg: 'RS256', kid, crit: ['x'], x: 1 })}.${base64(claims)}.AAAA`)],
    ['another payload under a good signature', `${good.split('.')[0]}.${base64({ ...claims, sub: 'bob' })}.${good.split('.')[2]}`],
    ['no signature', good.split('.').slice(0, 2).join('.') + '.'],
    ['a prototype as the identity', await provider.sign({ sub: undefined as unknown as string })],
  ];
  const bodies = new Set<string>();
  for (const [name, token] of attacks) {
    const answer = await list(token);
    // Past its budget of questions to the provider, an unknown kid is 503 rather than 401: refused either way.
    const unknownKid = name.startsWith('a kid');
    t.ok(answer.status === 401 || (unknownKid && answer.status === 503), `${name}: ${answer.status}`);
    if (answer.status === 401 && !name.includes('identity')) bodies.add(JSON.stringify({ ...answer.json, requestId: '' }));
  }
  t.equal(bodies.size, 1, 'and no answer tells which check failed');
  t.equal(reached, 0, 'nobody was sent elsewhere for keys');

  await t.test('x-user-id next to a JWT', async (t) => {
    for (const headers of [{ 'x-user-id': 'bob' }, { 'x-identity': 'bob' }, { 'x-identity': 'ada', 'x-identity-type': 'team' }] as Record<string, string>[]) {
      t.match(await asBearer(gateway, good)('GET', '/connections', { headers }), { status: 400, json: { code: 'identity_conflict' } });
    }
  });

  await t.test('a JWT as an API key, next to one, and on other routes', async (t) => {
    t.equal((await gateway.request('GET', '/connections', { key: good })).status, 401);
    t.equal((await gateway.request('GET', '/connections', { headers: { authorization: `Bearer ${good}` } })).status, 401);
    for (const [method, path] of [['GET', '/api-keys'], ['POST', '/authkit/sessions'], ['POST', '/connections/sync'], ['GET', '/integrations']] as const) {
      t.match(await asBearer(gateway, good)(method, path), { status: 403, json: { code: 'insufficient_scope' } }, path);
    }
  });

  await t.test('made-up key ids do not make the gateway hammer the provider', async (t) => {
    const before = provider.asked();
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, index) => provider.sign({}, { kid: `made-up-${index}` })));
    for (const token of tokens) t.not((await list(token)).status, 200);
    t.ok(provider.asked() - before <= 8, `${provider.asked() - before} questions for 50 made-up keys`);
    t.equal((await list(good)).status, 200, 'and known keys go on working');
  });
});
