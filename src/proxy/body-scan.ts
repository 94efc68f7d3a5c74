import { type Chosen, isConnectionKey, namesChosen } from './connection-key-member.js';

const [quote, slash, backslash, brace] = [0x22, 0x2f, 0x5c, 0x7b];
/** Longer than any way to write `connectionKey`, or a connection key, in JSON. */
const maxCaptured = 8 * 1024;
const minCaptured = 'connectionKey'.length;
/** Deeper nesting than parsers take: what follows is judged as text. */
const maxDepth = 1_000;
/** Of a chunk, what is read again with the next: a name may be cut in two, each letter of it escaped. */
const overlap = 256;

/** `connectionKey` as a name in a form, once its letters are decoded. */
export const formMention = /[&;\s]connectionkey\s{0,16}[[=]/iu;
/** `connectionKey` as the name of a part of a multipart form (RFC 7578 §4.2), once its letters are decoded. */
export const partMention = /(?<![\w-])name\*?\s{0,16}=\s{0,16}(?:"\s{0,16}|[\w-]{0,32}'[\w-]{0,32}')?connectionkey["'[;\s]/iu;
const anyMention = /connectionkey/iu;

/** Whether a body that is there as a whole could hold the name, in any spelling: most do not, and need no scan. */
export function couldMention(body: Buffer, forms: readonly RegExp[], comments: boolean): boolean {
  const start = body[printableAt(body)];
  if (start !== brace && !(comments && start === slash) && forms.length === 0) return false;
  const text = body.toString('latin1');
  return plainMention.test(text) || text.includes('\\u') || text.includes('\\x') || text.includes('\0') || body.includes(kelvin) || (forms.length > 0 && text.includes('%'));
}

const plainMention = /connectionkey/i;
/** Folds to k. */
const kelvin = Buffer.from('\u212a');

/** Where the first printable ASCII byte is, or the length. */
function printableAt(body: Buffer): number {
  for (let i = 0; i < body.length; i += 1) if (body[i]! > 0x20 && body[i]! < 0x7f) return i;
  return body.length;
}

/** Where in a top-level object the scan stands; `over`: behind it. */
type Place = 'before' | 'name' | 'colon' | 'value' | 'after' | 'over';

/**
 * Looks through a body that passes by for a top-level `connectionKey` that is not the chosen connection's. Read as JSON is what
 * begins with a brace behind white space, marks and other bytes that are not printable ASCII. Where it turns out not to be JSON, a
 * parser less strict might still read it: then a mention of the name anywhere is enough.
 */
export class BodyScan {
  #place: Place = 'before';
  /** Open brackets, the outer object included. */
  #open: number[] = [];
  #inString = false;
  #escaped = false;
  /** The string that is being read, where it matters. */
  #captured: Buffer[] | undefined;
  #capturedBytes = 0;
  #valueIsOurs = false;
  #looksLikeJson: boolean | undefined;
  #strict = true;
  #mentioned = false;
  #tail: Buffer = Buffer.from('&');
  #foreign = false;

  /**
   * @param forms what a mention looks like, where the body is a form
   * @param comments whether the body may begin with a comment: where its type says JSON
   */
  constructor(private readonly chosen: Chosen, private readonly forms: readonly RegExp[], private readonly comments: boolean) {}

  /** Reads a body that is there as a whole. Returns whether it names another connection. */
  whole(body: Buffer): boolean {
    const from = this.#begin(body);
    if (this.#looksLikeJson || this.forms.length > 0) this.#search(body);
    if (!this.#looksLikeJson || !this.#mentioned) return this.#foreign;
    this.#read(body, from);
    return this.#foreign || !this.#strict || this.end();
  }

  /** Reads on. Returns whether the body names another connection. */
  write(chunk: Buffer): boolean {
    if (this.#foreign || (this.#looksLikeJson === false && this.forms.length === 0)) return this.#foreign;
    const from = this.#looksLikeJson === undefined ? this.#begin(chunk) : 0;
    this.#search(chunk);
    if (this.#looksLikeJson) {
      this.#read(chunk, from);
      this.#foreign ||= !this.#strict && this.#mentioned;
    }
    return this.#foreign;
  }

  /** The body is over. Returns whether it names another connection. */
  end(): boolean {
    if (this.#looksLikeJson && this.#place !== 'over' && this.#mentioned) this.#foreign = true;
    return this.#foreign;
  }

  /** Finds the first printable byte. */
  #begin(chunk: Buffer): number {
    const at = printableAt(chunk);
    if (at < chunk.length) this.#looksLikeJson = chunk[at] === brace || (this.comments && chunk[at] === slash);
    return at;
  }

  #search(chunk: Buffer): void {
    if (this.#mentioned && this.forms.length === 0) return;
    const window = Buffer.concat([this.#tail, chunk]);
    this.#tail = window.subarray(Math.max(0, window.length - overlap));
    // Without its NULs, UTF-16 and UTF-32 of ASCII read as ASCII.
    const text = window.toString('utf8').replaceAll('\0', '');
    if (this.forms.length > 0) {
      const plain = unescaped(text, '%', percentEncoded);
      this.#foreign ||= this.forms.some((form) => form.test(plain));
    }
    if (this.#looksLikeJson) this.#mentioned ||= anyMention.test(unescaped(text, '\\', jsonEscape));
  }

  #read(chunk: Buffer, from: number): void {
    for (let i = from; i < chunk.length && this.#strict && !this.#foreign; i += 1) {
      if (this.#inString) i = this.#readString(chunk, i);
      else this.#readMark(chunk[i]!);
    }
  }

  /** Reads a string's bytes from `i`; returns where its closing quote is, or the end of the chunk. */
  #readString(chunk: Buffer, i: number): number {
    let at = i;
    for (; at < chunk.length; at += 1) {
      if (this.#escaped) {
        this.#escaped = false;
        continue;
      }
      const byte = chunk[at]!;
      if (byte === quote) break;
      if (byte === backslash) this.#escaped = true;
    }
    const closed = at < chunk.length;
    if (this.#captured) {
      this.#capturedBytes += at - i;
      // No shorter text is `connectionKey` or a key: most names need not be looked at.
      if (this.#capturedBytes <= maxCaptured && !(closed && this.#capturedBytes < minCaptured)) this.#captured.push(chunk.subarray(i, at));
    }
    if (closed) this.#closeString();
    return at;
  }

  #closeString(): void {
    this.#inString = false;
    const captured = this.#captured;
    this.#captured = undefined;
    if (!captured) {
      if (this.#open.length === 1) this.#place = 'after';
      return;
    }
    const readable = this.#capturedBytes >= minCaptured && this.#capturedBytes <= maxCaptured;
    const text = readable ? decoded(Buffer.concat(captured)) : '';
    if (this.#place === 'name') {
      this.#valueIsOurs = text !== undefined && isConnectionKey(text);
      // An escape that JSON does not know: others may.
      if (text === undefined) this.#strict = false;
      this.#place = 'colon';
    } else {
      if (!namesChosen(text, this.chosen)) this.#foreign = true;
      this.#place = 'after';
    }
  }

  #readMark(byte: number): void {
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return;
    const outer = this.#open.length === 1;
    if (this.#place === 'over') return void (this.#strict = false);
    if (this.#place === 'before') return byte === 0x7b ? this.#enter(byte) : void (this.#strict = false);
    if (outer && this.#place === 'value' && this.#valueIsOurs && byte !== quote) return void (this.#foreign = true);
    if (byte === quote) return this.#openString(outer);
    if (byte === 0x7b || byte === 0x5b) return outer && this.#place !== 'value' ? void (this.#strict = false) : this.#enter(byte);
    if (byte === 0x7d || byte === 0x5d) return this.#leave(byte);
    if (!outer) return byte === 0x2c || byte === 0x3a || isLiteral(byte) ? undefined : void (this.#strict = false);
    if (byte === 0x3a && this.#place === 'colon') this.#place = 'value';
    else if (byte === 0x2c && this.#place === 'after') this.#place = 'name';
    else if (isLiteral(byte) && (this.#place === 'value' || this.#place === 'after')) this.#place = 'after';
    else this.#strict = false;
  }

  #openString(outer: boolean): void {
    this.#inString = true;
    this.#escaped = false;
    if (!outer) return;
    if (this.#place !== 'name' && this.#place !== 'value') return void (this.#strict = false);
    if (this.#place === 'value' && !this.#valueIsOurs) return;
    this.#captured = [];
    this.#capturedBytes = 0;
  }

  #enter(byte: number): void {
    this.#open.push(byte);
    if (this.#open.length === 1) this.#place = 'name';
    if (this.#open.length > maxDepth) this.#strict = false;
  }

  #leave(byte: number): void {
    const opened = this.#open.pop();
    if ((byte === 0x7d) !== (opened === 0x7b)) this.#strict = false;
    if (this.#open.length === 0) this.#place = 'over';
    else if (this.#open.length === 1) this.#place = 'after';
  }
}

/** A byte of a number or of true, false and null. */
function isLiteral(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x2b || byte === 0x2d || byte === 0x2e || byte === 0x45;
}

function decoded(raw: Buffer): string | undefined {
  try {
    return JSON.parse(`"${raw.toString('utf8')}"`) as string;
  } catch {
    return undefined;
  }
}

/** An escape of a character in JSON, or in JavaScript. */
const jsonEscape = /\\u\{0{0,32}([0-9a-f]{1,6})\}|\\u([0-9a-f]{4})|\\x([0-9a-f]{2})/gi;
/** A percent-encoded letter or bracket: separators stay encoded, so that a value's are none of the form's. */
const percentEncoded = /%([46][1-9a-f]|[57][0-9a]|5b)/gi;

function unescaped(text: string, mark: string, escape: RegExp): string {
  if (!text.includes(mark)) return text;
  return text.replace(escape, (_, one: string, two?: string, three?: string) => String.fromCodePoint(Math.min(0x10ffff, Number.parseInt(one ?? two ?? three, 16))));
}
