import { FaultQueue } from './control/faults.js';
import { Recordings } from './control/recordings.js';
import { LinkTokens } from './link-tokens.js';
import { RateLimiter } from './rate-limit.js';
import { defaultSettings, type Settings } from './settings.js';
import { Vault } from './vault/store.js';

/** Everything a sandbox remembers. */
export interface SandboxState {
  readonly secrets: readonly string[];
  readonly publicUrl: string | undefined;
  settings: Settings;
  readonly vault: Vault;
  readonly links: LinkTokens;
  readonly rateLimiter: RateLimiter;
  readonly faults: FaultQueue;
  readonly recordings: Recordings;
}

/** Everything one sandbox remembers. */
export function createState(secrets: readonly string[], publicUrl: string | undefined): SandboxState {
  return {
    secrets,
    publicUrl,
    settings: defaultSettings(),
    vault: new Vault(),
    links: new LinkTokens(),
    rateLimiter: new RateLimiter(),
    faults: new FaultQueue(),
    recordings: new Recordings(),
  };
}

/** Back to the first second of the sandbox's life, the issued tokens included. */
export function resetState(state: SandboxState): void {
  state.settings = defaultSettings();
  state.vault.clear();
  state.links.clear();
  state.rateLimiter.reset();
  state.faults.clear();
  state.recordings.clear();
}
