import type { Authenticator } from './authenticator.js';
import { digestKey, isWellFormedToken } from './key-format.js';
import type { Principal } from './principal.js';
import type { Strangers } from './strangers.js';

/** What else than an API key a request may present. */
export type BrowserCredentials = {
  session(token: string): Promise<Principal>;
  /** Absent: no identity provider is configured, and a JWT is as unknown as any other text. */
  jwt: ((token: string) => Promise<Principal>) | undefined;
};

const jwtForm = /^eyJ[\w-]*\.[\w-]+\.[\w-]*$/;

/** An authenticator that also knows sessions and the identity provider's JWTs; which of them it is shows in its form. */
export function withBrowserCredentials(keys: Authenticator, strangers: Strangers, { session, jwt }: BrowserCredentials): Authenticator {
  return {
    authenticate(credential, caller) {
      if (credential.startsWith('ags_') && isWellFormedToken('ags_', credential)) return strangers.lookUp(caller, digestKey(credential), () => session(credential));
      if (jwt && jwtForm.test(credential)) return jwt(credential);
      return keys.authenticate(credential, caller);
    },
    mentionsCredential: keys.mentionsCredential,
  };
}
