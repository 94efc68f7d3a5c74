/**
 * Codes of what can go wrong with a call. They are those of undici, which our other calls go by: `upstream/errors.ts` and
 * those who read traces know one set.
 */
export type HttpFailure =
  /** The request cannot be written as one; nothing was sent, and it says nothing of the other side. */
  | 'UND_ERR_INVALID_ARG'
  | 'UND_ERR_CONNECT_TIMEOUT'
  | 'UND_ERR_HEADERS_TIMEOUT'
  | 'UND_ERR_BODY_TIMEOUT'
  /** The other side closed or reset the connection before the answer was complete. */
  | 'UND_ERR_SOCKET'
  /** The answer breaks the protocol. */
  | 'UND_ERR_PROTOCOL'
  | 'UND_ERR_HEADERS_OVERFLOW'
  | 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH'
  | 'UND_ERR_ABORTED'
  | 'UND_ERR_DESTROYED';

/** A call that failed on its way. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  /** A connection kept open was closed before a byte of the answer: no trouble of the other side's, only the price of keeping it. */
  readonly stale: boolean;

  constructor(readonly code: HttpFailure, message: string, { stale = false, ...options }: ErrorOptions & { stale?: boolean } = {}) {
    super(message, options);
    this.stale = stale;
  }
}
