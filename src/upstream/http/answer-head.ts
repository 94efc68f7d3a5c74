import { HttpError } from './errors.js';
import { type FieldListener, type FieldName, isFieldValue, readFields } from './fields.js';

/** Up to this many milliseconds a connection is kept without use, whatever the other side offers. */
const longestIdleMs = 600_000;
/** By how much earlier than the other side we give an idle connection up. */
const idleMarginMs = 1_000;

/** The head of an answer (RFC 9112 §4, §5) and what it says of the body and the connection. */
export class AnswerHead implements FieldListener {
  readonly status: number;
  /** Names and values as they were sent, one after the other. */
  readonly headers: string[] = [];
  contentLength: number | undefined;
  chunked = false;
  /** Whether the connection stays open after this answer (RFC 9112 §9.3). */
  keepAlive: boolean;
  /** How long the other side keeps it (`Keep-Alive: timeout`), less a margin; undefined when it does not say. */
  idleMs: number | undefined;

  /**
   * @param text everything before the empty line, in Latin-1
   * @throws HttpError of kind `protocol` for what is malformed, and where two readers could disagree on the length of the body
   *   (RFC 9112 §6.3, §11.2): more than one `Content-Length`, one beside a `Transfer-Encoding`, and any coding but `chunked`
   */
  constructor(text: string) {
    this.status = statusOf(text);
    this.keepAlive = text.charCodeAt(7) === 0x31;
    const line = text.indexOf('\r\n');
    if (!isFieldValue(text.slice(12, line < 0 ? text.length : line))) throw malformed();
    if (line >= 0) readFields(text, line + 2, this.headers, this);
    if (this.chunked && (this.contentLength !== undefined || text.charCodeAt(7) === 0x30)) throw ambiguous();
  }

  noteField(kind: FieldName['kind'], value: string): void {
    if (kind === 'length') {
      if (this.contentLength !== undefined || !/^\d{1,15}$/.test(value)) throw ambiguous();
      this.contentLength = Number(value);
    } else if (kind === 'coding') {
      if (this.chunked || value.toLowerCase() !== 'chunked') throw ambiguous();
      this.chunked = true;
    } else if (kind === 'connection') {
      this.#noteConnection(value.toLowerCase());
    } else if (kind === 'keep-alive') {
      const seconds = /(?:^|[\s,])timeout=(\d{1,9})/i.exec(value)?.[1];
      if (seconds !== undefined) this.idleMs = Math.min(Number(seconds) * 1000 - idleMarginMs, longestIdleMs);
    }
  }

  #closes = false;

  #noteConnection(value: string): void {
    const options = value.split(',').map((option) => option.trim());
    // Whatever else it says, `close` closes.
    if (options.includes('close')) this.#closes = true;
    this.keepAlive = !this.#closes && (this.keepAlive || options.includes('keep-alive'));
  }
}

/** The status of a status line (RFC 9112 §4): `HTTP/1.` 0 or 1, three digits, and a space before the reason, if any. */
function statusOf(text: string): number {
  const status = (text.charCodeAt(9) - 0x30) * 100 + (text.charCodeAt(10) - 0x30) * 10 + text.charCodeAt(11) - 0x30;
  const minor = text.charCodeAt(7);
  const after = text.charCodeAt(12);
  const wellFormed = text.startsWith('HTTP/1.') && (minor === 0x31 || minor === 0x30) && text.charCodeAt(8) === 0x20
    && isDigit(text.charCodeAt(9)) && isDigit(text.charCodeAt(10)) && isDigit(text.charCodeAt(11)) && status >= 100
    && (text.length === 12 || after === 0x20 || after === 0x0d);
  if (!wellFormed) throw malformed();
  return status;
}

/** Whether a text that may go on can be the beginning of a status line, so that what is no HTTP/1 need not be waited for. */
export function mayBeginStatusLine(text: string): boolean {
  return statusLineBeginning.test(text.length > 13 ? text.slice(0, 13) : text);
}

/** `HTTP/1.x 999` and a space or CR, or any beginning of it. */
const statusLineBeginning = /^(?:H|HT|HTT|HTTP|HTTP\/|HTTP\/1|HTTP\/1\.|HTTP\/1\.[01](?: (?:[1-9](?:\d(?:\d[ \r]?)?)?)?)?)$/;

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function malformed(): HttpError {
  return new HttpError('protocol', 'the answer has a malformed status line');
}

function ambiguous(): HttpError {
  return new HttpError('protocol', 'the answer does not say clearly how long it is');
}
