import type { Connector } from '../upstream/connectors.js';
import type { Catalogue } from './catalogue.js';

/** What a platform is called in metrics: its own name where it is one of the catalogue's, else `other`. */
export type PlatformLabels = {
  of(platform: string): string;
  /** Resolves when names can be told; undefined when they can at once. */
  pending(): Promise<void> | undefined;
};

const renewMs = 60_000;
/** Names that are taken as they come while the upstream has given no catalogue: few, so that invented ones stay few. */
const maxUnproven = 50;

/** Labels from the catalogue, which is read when the first one is asked for, and again each minute of use: from memory, as a rule. */
export function createPlatformLabels(catalogue: Catalogue, now: () => number = Date.now): PlatformLabels {
  const unproven = new Set<string>();
  let known: ReadonlySet<string> | undefined;
  let source: readonly Connector[] | undefined;
  let reading: Promise<void> | undefined;
  let renewAt = 0;

  const read = async (): Promise<void> => {
    try {
      const { connectors } = await catalogue.read(undefined);
      if (connectors !== source && connectors.length > 0) known = new Set(connectors.map(({ platform }) => platform));
      source = connectors;
    } catch {
      // Told where the catalogue itself is asked for; the names that are known stay.
    } finally {
      reading = undefined;
    }
  };

  return {
    of(platform) {
      if (known) return known.has(platform) ? platform : 'other';
      if (unproven.size < maxUnproven) unproven.add(platform);
      return unproven.has(platform) ? platform : 'other';
    },
    pending() {
      if (now() >= renewAt) {
        renewAt = now() + renewMs;
        reading = read();
      }
      return known ? undefined : reading;
    },
  };
}
