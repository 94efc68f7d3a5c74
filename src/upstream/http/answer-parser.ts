import { maxHeaderSize } from 'node:http';
import { AnswerHead, mayBeginStatusLine } from './answer-head.js';
import { HttpError } from './errors.js';
import { readFields } from './fields.js';

/** Told what the parser reads. It may stop the parser in any of these. */
export type AnswerListener = {
  /** An informational answer (1xx), or the final one's head. */
  onHead(head: AnswerHead): void;
  onBody(chunk: Buffer): void;
  /** @param reusable nothing of the answer speaks against another request on this connection */
  onEnd(trailers: string[], reusable: boolean): void;
};

/** What is read next. `end`: nothing more may come. */
type Next = 'head' | 'length' | 'close' | 'size' | 'chunk' | 'chunk end' | 'trailers' | 'end';

const emptyLine = Buffer.from('\r\n\r\n');
/** A chunk's size, and extensions, which mean nothing to us (RFC 9112 §7.1). */
const chunkLine = /^([\da-fA-F]{1,12})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/;
/** What can still become such a line with its CRLF. */
const chunkLineBeginning = /^[\da-fA-F]{1,12}(?:[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?$/;
/** What can still become a line, or the empty one that ends a section: no control characters, and CR at the end only. */
const lineBeginning = /^[\t\x20-\x7e\x80-\xff]*\r?$/;
const lf = 0x0a;
const cr = 0x0d;

/**
 * Reads one answer after the other from a connection's bytes, however they are split (RFC 9112). Where a lenient reader
 * could find another end of the answer than a strict one, it is refused: that is how answers are smuggled.
 */
export class AnswerParser {
  #next: Next = 'end';
  #toHead = false;
  #head: AnswerHead | undefined;
  /** What of the body, or of a chunk, is still to come. */
  #left = 0;
  /** The beginning of something that has to be read in one. */
  #kept: Buffer | undefined;
  /** How much of a section that has not ended was looked at: its whole lines. */
  #checked = 0;

  constructor(private readonly listener: AnswerListener) {}

  /** An answer comes next. @param toHead to a HEAD request: it has no body (RFC 9112 §6.3) */
  begin(toHead: boolean): void {
    this.#next = 'head';
    this.#toHead = toHead;
    this.#head = undefined;
    this.#checked = 0;
  }

  /** Reads no more, whatever comes. */
  stop(): void {
    this.#next = 'end';
    this.#kept = undefined;
  }

  /** @throws HttpError of kind `protocol`: the answer is not to be read further */
  feed(chunk: Buffer): void {
    if (this.#kept) {
      chunk = Buffer.concat([this.#kept, chunk]);
      this.#kept = undefined;
    }
    let at = 0;
    while (at < chunk.length && this.#next !== 'end') {
      const after = this.#read(chunk, at);
      if (after < 0) {
        this.#kept = chunk.subarray(at);
        return;
      }
      at = after;
    }
  }

  /** The other side has sent everything. Whether that was the end of the answer, which was told then. */
  finish(): boolean {
    if (this.#next !== 'close') return false;
    this.#end([], false);
    return true;
  }

  /** Reads what comes next; where it ends, or -1 when more is needed for that. */
  #read(chunk: Buffer, at: number): number {
    switch (this.#next) {
      case 'head': return this.#readHead(chunk, at);
      case 'length': return this.#readBody(chunk, at);
      case 'close':
        this.listener.onBody(at === 0 ? chunk : chunk.subarray(at));
        return chunk.length;
      case 'size': return this.#readSize(chunk, at);
      case 'chunk': return this.#readChunk(chunk, at);
      case 'chunk end': return this.#readChunkEnd(chunk, at);
      case 'trailers': return this.#readTrailers(chunk, at);
      case 'end': return chunk.length;
    }
  }

  #readHead(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(emptyLine, at);
    if (end < 0 ? chunk.length - at > maxHeaderSize : end - at > maxHeaderSize) throw tooLong();
    if (end < 0) return this.#foresee(chunk, at);
    this.#checked = 0;
    const head = new AnswerHead(chunk.toString('latin1', at, end));
    const after = end + 4;
    if (head.status === 101) throw new HttpError('protocol', 'the answer switches protocols, which was not asked for');
    if (head.status < 200) {
      this.listener.onHead(head);
      return after;
    }
    this.#head = head;
    const hasBody = !(this.#toHead || head.status === 204 || head.status === 304);
    this.#left = hasBody ? head.contentLength ?? 0 : 0;
    this.#next = !hasBody || head.contentLength !== undefined ? 'length' : head.chunked ? 'size' : 'close';
    this.listener.onHead(head);
    if (this.#next === 'length' && this.#left === 0) this.#end([], head.keepAlive && after === chunk.length && !(head.status === 204 && announcesBody(head)));
    return after;
  }

  #readBody(chunk: Buffer, at: number): number {
    const after = Math.min(at + this.#left, chunk.length);
    this.#left -= after - at;
    this.listener.onBody(at === 0 && after === chunk.length ? chunk : chunk.subarray(at, after));
    if (this.#left === 0 && this.#next === 'length') this.#end([], this.#head!.keepAlive && after === chunk.length);
    return after;
  }

  #readSize(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(lf, at);
    if (end < 0 ? chunk.length - at > maxHeaderSize : end - at > maxHeaderSize) throw tooLong();
    if (end < 0) {
      if (!chunkLineBeginning.test(chunk.toString('latin1', at))) throw malformed();
      return -1;
    }
    const size = chunk[end - 1] === cr ? chunkLine.exec(chunk.toString('latin1', at, end - 1))?.[1] : undefined;
    if (size === undefined) throw malformed();
    this.#left = Number.parseInt(size, 16);
    this.#next = this.#left === 0 ? 'trailers' : 'chunk';
    return end + 1;
  }

  #readChunk(chunk: Buffer, at: number): number {
    const after = Math.min(at + this.#left, chunk.length);
    this.#left -= after - at;
    if (this.#left === 0) this.#next = 'chunk end';
    this.listener.onBody(chunk.subarray(at, after));
    return after;
  }

  #readChunkEnd(chunk: Buffer, at: number): number {
    if (chunk[at] !== cr || (at + 1 < chunk.length && chunk[at + 1] !== lf)) throw malformed();
    if (at + 1 === chunk.length) return -1;
    this.#next = 'size';
    return at + 2;
  }

  /** Trailers and the empty line after them (RFC 9112 §7.1.2). */
  #readTrailers(chunk: Buffer, at: number): number {
    if (chunk[at] === cr && at + 1 < chunk.length) {
      if (chunk[at + 1] !== lf) throw malformed();
      this.#end([], this.#head!.keepAlive && at + 2 === chunk.length);
      return at + 2;
    }
    const end = chunk.indexOf(emptyLine, at);
    if (end < 0 ? chunk.length - at > maxHeaderSize : end - at > maxHeaderSize) throw tooLong();
    if (end < 0) return this.#foresee(chunk, at);
    const trailers: string[] = [];
    readFields(chunk.toString('latin1', at, end), 0, trailers);
    this.#end(trailers, this.#head!.keepAlive && end + 4 === chunk.length);
    return end + 4;
  }

  /**
   * Refuses a head or trailers that can become none any more, however they go on: their end may never come. Each line is
   * looked at once, so that a section which comes byte by byte costs no more than its bytes.
   */
  #foresee(chunk: Buffer, at: number): -1 {
    const text = chunk.toString('latin1', at + this.#checked);
    const first = this.#next === 'head' && this.#checked === 0;
    if (first && !mayBeginStatusLine(text)) throw malformed();
    const lines = text.lastIndexOf('\r\n');
    if (lines >= 0) {
      if (first) void new AnswerHead(text.slice(0, lines));
      else readFields(text.slice(0, lines), 0, []);
      this.#checked += lines + 2;
    }
    if (!lineBeginning.test(lines < 0 ? text : text.slice(lines + 2))) throw malformed();
    return -1;
  }

  #end(trailers: string[], reusable: boolean): void {
    this.#checked = 0;
    this.#next = 'end';
    this.listener.onEnd(trailers, reusable);
  }
}

/** A 204 must not (RFC 9110 §8.6, RFC 9112 §6.1): what it announces may still come, and would be read as the next answer. */
function announcesBody({ contentLength, chunked }: AnswerHead): boolean {
  return chunked || (contentLength !== undefined && contentLength > 0);
}

function tooLong(): HttpError {
  return new HttpError('protocol', `the answer has a head, a chunk's size or trailers of more than ${maxHeaderSize} bytes`);
}

function malformed(): HttpError {
  return new HttpError('protocol', 'the answer has a malformed line');
}
