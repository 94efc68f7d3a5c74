/** The token of a connection key: what makes it a secret, and no encoding of the key changes. */
const keyToken = /::([0-9A-Za-z]{16,})(?:\||$)/;

/** What no answer to a call may quote: the upstream's secret, and the connection's key or, where it has one, its token alone. */
export function secretsOfCall(secretKey: string, connectionKey: string): readonly string[] {
  const token = keyToken.exec(connectionKey)?.[1];
  return token === undefined ? [secretKey, connectionKey, encodeURIComponent(connectionKey)] : [secretKey, token];
}

/** Whether a text quotes one of the secrets. */
export function quotes(text: string, secrets: readonly string[]): boolean {
  for (const secret of secrets) {
    // Most values of a head are shorter than any secret.
    if (text.length >= secret.length && text.includes(secret)) return true;
  }
  return false;
}

const nothing = Buffer.alloc(0);

/**
 * Lets a body through unless it quotes a secret, also where that is split between chunks: what could be the beginning of one is
 * held back until more is known.
 */
export class SecretFilter {
  readonly #needles: readonly Buffer[];
  #held: Buffer = nothing;

  constructor(secrets: readonly string[]) {
    this.#needles = secrets.map((secret) => Buffer.from(secret));
  }

  /** What of the body may pass now; undefined when it quotes a secret: then nothing more may. */
  pass(chunk: Buffer): Buffer | undefined {
    const all = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#needles.some((needle) => all.includes(needle))) return undefined;
    const held = Math.max(...this.#needles.map((needle) => beginningAtEnd(all, needle)));
    this.#held = held === 0 ? nothing : Buffer.from(all.subarray(all.length - held));
    return held === 0 ? all : all.subarray(0, all.length - held);
  }

  /** The end of the body, which was held back. */
  rest(): Buffer {
    return this.#held;
  }
}

/** How many bytes at the end of `all` are the beginning of `needle`. */
function beginningAtEnd(all: Buffer, needle: Buffer): number {
  for (let length = Math.min(needle.length - 1, all.length); length > 0; length -= 1) {
    if (all[all.length - length] === needle[0] && all.compare(needle, 0, length, all.length - length) === 0) return length;
  }
  return 0;
}
