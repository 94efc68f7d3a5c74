import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, type JWK, type JWTHeaderParameters, type JWTPayload, SignJWT } from 'jose';
import type { Test } from 'tap';

type Key = { kid: string; alg: string; jwk: JWK; privateKey: CryptoKey; publicPem: string };

/** An identity provider with a real JWKS endpoint on a socket. */
export type IdentityProvider = {
  /** The environment that makes a gateway trust it. */
  env: Record<string, string>;
  /** How often its keys were asked for. */
  asked(): number;
  /** Publishes another key instead of (or besides) the ones before, and signs with it from now on. */
  rotate(options?: { keepOld?: boolean; alg?: string }): Promise<Key>;
  current(): Key;
  /** Its endpoint answers 503 (true) or its keys (false). */
  fail(broken: boolean): void;
  /** A token for `ada`, with the claims and header given on top. */
  sign(claims?: JWTPayload, header?: Partial<JWTHeaderParameters>, key?: Pick<Key, 'privateKey'>): Promise<string>;
};

export async function startIdentityProvider(t: Test): Promise<IdentityProvider> {
  let published: Key[] = [];
  let broken = false;
  let asked = 0;
  let made = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    if (broken) return void response.writeHead(503).end();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ keys: published.map(({ jwk, kid, alg }) => ({ ...jwk, kid, alg, use: 'sig' })) }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer = 'https://login.example.com/';
  const audience = 'authkit-gateway';

  const rotate: IdentityProvider['rotate'] = async ({ keepOld = false, alg = 'ES256' } = {}) => {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const key = { kid: `key-${made += 1}`, alg, jwk: await exportJWK(publicKey), privateKey, publicPem: await exportSPKI(publicKey) };
    published = [...(keepOld ? published : []), key];
    return key;
  };
  const current = () => published.at(-1)!;
  await rotate();
  return {
    env: { AUTH_JWKS_URL: `${url}/jwks.json`, AUTH_JWT_ISSUER: issuer, AUTH_JWT_AUDIENCE: audience },
    asked: () => asked,
    rotate,
    current,
    fail: (value) => void (broken = value),
    sign: (claims = {}, header = {}, { privateKey } = current()) => {
      const now = Math.floor(Date.now() / 1000);
      return new SignJWT({ iss: issuer, aud: audience, sub: 'ada', iat: now, exp: now + 300, ...claims })
        .setProtectedHeader({ alg: current().alg, kid: current().kid, ...header }).sign(privateKey);
    },
  };
}
