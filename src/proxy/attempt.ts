import type { AnswerHandler } from '../upstream/passthrough.js';
import { Silence } from './silence.js';

/** What of a discarded answer is read, so that its socket can be used again; of more, the socket is given up. */
const discardBytes = 64 * 1024;
/** And for how long. */
const discardMs = 1_000;

/** Who hears what an attempt brings. */
export type AttemptListener = {
  /** An informational answer (1xx); the final one is still to come. */
  onInformation(status: number, rawHeaders: string[]): void;
  onAnswer(status: number, rawHeaders: string[], resume: () => void): void;
  /** False: not faster, please. */
  onChunk(chunk: Buffer): boolean;
  onEnd(rawTrailers: string[]): void;
  onFailure(error: Error): void;
};

/** One try at the upstream. Given up, it says no more, and reads the rest of a short answer to keep the socket. */
export class Attempt implements AnswerHandler {
  /** Whether the request may have left: before that, repeating any method is safe. */
  sent = false;
  #abort: ((error?: Error) => void) | undefined;
  #discarded = 0;
  #patience: Silence | undefined;

  constructor(private listener: AttemptListener | undefined) {}

  /** Says no more from here on; the socket is kept when the rest of the answer is short. */
  discard(): void {
    this.listener = undefined;
    if (this.#abort) this.#patience = new Silence(discardMs, this.#abort);
  }

  /** Ends the call now. */
  cancel(): void {
    this.listener = undefined;
    this.#discarded = Infinity;
    this.#abort?.();
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abort = abort;
    this.sent = true;
    if (!this.listener) abort();
  }

  onHeaders(status: number, rawHeaders: string[], resume: () => void): void {
    if (status >= 200) this.listener?.onAnswer(status, rawHeaders, resume);
    else this.listener?.onInformation(status, rawHeaders);
  }

  onData(chunk: Buffer): boolean {
    if (this.listener) return this.listener.onChunk(chunk);
    this.#discarded += chunk.length;
    if (this.#discarded > discardBytes) this.#abort?.();
    return true;
  }

  onComplete(rawTrailers: string[]): void {
    this.#patience?.end();
    this.listener?.onEnd(rawTrailers);
  }

  onError(error: Error): void {
    this.#abort = undefined;
    this.#patience?.end();
    this.listener?.onFailure(error);
  }
}
