import { createHash } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify, type JWTVerifyOptions, type JWTVerifyResult } from 'jose';
import type { JwtSettings } from '../config.js';
import { Problem } from '../errors.js';
import { unauthorized } from './authenticator.js';
import { type Identity, identityName, resolveIdentity } from './identity.js';
import { createKeySet } from './jwks.js';
import type { Principal } from './principal.js';

// Asymmetric ones only: with a symmetric one, the public key would be the secret (RFC 8725 §2.1).
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
const leewaySeconds = 30;

/**
 * Accepts JWTs of the operator's identity provider (RFC 7519, RFC 8725): signed with one of its keys, with its issuer and our
 * audience, and an end that has not passed. The token's claims name the identity; it opens what a session opens. Everything
 * else is 401, save that an unreachable provider is 503 `identity_provider_unavailable`.
 */
export function createJwtAuthenticator(settings: JwtSettings, now: () => number = Date.now): (token: string) => Promise<Principal> {
  const keys = createKeySet(settings.jwksUrl, now);
  return async (token) => {
    const payload = await verify(token);
    const identity = identityOf(payload, settings);
    return {
      id: `jwt:${fingerprint(identity)}`, kind: 'jwt', scopes: [], identity, allowedOrigins: [], expiresAt: new Date(payload.exp! * 1000),
    };
  };

  async function verify(token: string): Promise<JWTPayload> {
    const options: JWTVerifyOptions = {
      algorithms, issuer: settings.issuer, audience: settings.audience, requiredClaims: ['exp'], clockTolerance: leewaySeconds, currentDate: new Date(now()),
    };
    try {
      const { payload } = await jwtVerify(token, keys, options)
        .catch((error: unknown) => (error instanceof errors.JWKSMultipleMatchingKeys ? verifyWithAny(token, error, options) : Promise.reject(error as Error)));
      return payload;
    } catch (error) {
      if (error instanceof Problem) throw error;
      // jose's reasons speak of the token only, but which check failed is nobody's business who cannot pass them.
      throw unauthorized('The token is not a valid one of the identity provider.');
    }
  }
}

/** A token need not say which key it is signed with (RFC 7515 §4.1.4): tries each that may be it. */
async function verifyWithAny(token: string, keys: errors.JWKSMultipleMatchingKeys, options: JWTVerifyOptions): Promise<JWTVerifyResult> {
  for await (const key of keys) {
    try {
      return await jwtVerify(token, key, options);
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
    }
  }
  throw new errors.JWSSignatureVerificationFailed();
}

function identityOf(payload: JWTPayload, { identityClaim, identityTypeClaim }: JwtSettings): Identity {
  const identity = claim(payload, identityClaim);
  const identityType = identityTypeClaim === undefined ? undefined : claim(payload, identityTypeClaim);
  try {
    const usable = [identity, identityType ?? ''].every((value) => typeof value === 'string');
    const resolved = usable ? resolveIdentity(null, {}, { identity: identity as string, identityType: identityType as string | undefined }) : undefined;
    if (resolved) return resolved;
  } catch {
    // Refused below, as any other that is no identity.
  }
  throw unauthorized('The token names no usable identity.');
}

function claim(payload: JWTPayload, name: string): unknown {
  return Object.hasOwn(payload, name) ? payload[name] : undefined;
}

/** For logs: the same for the same identity, and not the identity itself. */
function fingerprint(identity: Identity): string {
  return createHash('sha256').update(identityName(identity)).digest('hex').slice(0, 16);
}
