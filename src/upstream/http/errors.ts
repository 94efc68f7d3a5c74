/** What a call failed of. */
export type FailureKind =
  /** Time ran out. */
  | 'timeout'
  /** No connection could be made, or the other side closed it before the answer was complete. */
  | 'unreachable'
  /** The answer breaks the protocol, or is larger than is read. */
  | 'protocol'
  /** It was given up on this side: by its caller, by a body that broke, or because the pool was closed. */
  | 'aborted';

/** A call that failed on its way. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  /** A connection kept open was closed before a byte of the answer: no trouble of the other side's, only the price of keeping it. */
  readonly stale: boolean;
  /** The other side was asked, or called, and not a byte of an answer came. */
  readonly unheard: boolean;
  /** The code of the system's or TLS's error behind it (`ECONNREFUSED`), or else the kind. */
  readonly code: string;

  constructor(readonly kind: FailureKind, message: string, { stale = false, unheard = false, ...options }: ErrorOptions & { stale?: boolean; unheard?: boolean } = {}) {
    super(message, options);
    this.stale = stale;
    this.unheard = unheard;
    this.code = (options.cause as { code?: string } | undefined)?.code ?? kind;
  }
}

/** A request that cannot be written as one: the program's own mistake. Nothing was sent, and it says nothing of the other side. */
export class InvalidRequest extends TypeError {
  override readonly name = 'InvalidRequest';
}
