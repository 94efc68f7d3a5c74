import { HttpError } from './errors.js';

/** A field's name as it was written, and what the client has to know it for. */
export type FieldName = Readonly<{ text: string; kind: 'plain' | 'length' | 'coding' | 'connection' | 'keep-alive' | 'host' }>;

const token = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;
const notInValue = /[^\t\x20-\x7e\x80-\xff]/;
const kinds: Readonly<Record<string, FieldName['kind']>> = Object.assign(Object.create(null), {
  'content-length': 'length', 'transfer-encoding': 'coding', connection: 'connection', 'keep-alive': 'keep-alive', host: 'host',
});

const known = new Map<string, FieldName>();
const knownAtMost = 2_000;

/**
 * A field name; undefined for what is no token (RFC 9110 §5.1). Each is looked at once and remembered, with one copy of its
 * text for all answers; the map is bounded, for names come from callers and providers.
 */
export function fieldName(text: string): FieldName | undefined {
  const seen = known.get(text);
  if (seen !== undefined) return seen;
  if (!token.test(text)) return undefined;
  const kind = kinds[text.toLowerCase()] ?? 'plain';
  if (known.size >= knownAtMost || text.length > 128) return { text, kind };
  // As part of an answer's head it would keep all of that in memory.
  const copy = Buffer.from(text, 'latin1').toString('latin1');
  const name = { text: copy, kind };
  known.set(copy, name);
  return name;
}

/** Whether a text may be a field's value: no control characters but tab (RFC 9110 §5.5), nothing beyond Latin-1. */
export function isFieldValue(value: string): boolean {
  return !notInValue.test(value);
}

/** Told of the fields that the client has to know. */
export type FieldListener = { noteField(kind: FieldName['kind'], value: string): void };

/**
 * Reads field lines (RFC 9112 §5) from `start` to the end of `text`, whose last line has no CRLF. Each `name` and value goes
 * to `fields`; those that the client has to know also to `listener`.
 *
 * @throws HttpError of kind `protocol` for a name that is no token (so also for a folded line, and for space before the
 *   colon, RFC 9112 §5.1), and for control characters, a bare CR or LF among them
 */
export function readFields(text: string, start: number, fields: string[], listener?: FieldListener): void {
  for (let at = start; at < text.length;) {
    let end = text.indexOf('\r\n', at);
    if (end < 0) end = text.length;
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon >= end) throw malformed();
    const name = fieldName(text.slice(at, colon));
    const value = trimmed(text, colon + 1, end);
    if (name === undefined || !isFieldValue(value)) throw malformed();
    fields.push(name.text, value);
    if (name.kind !== 'plain') listener?.noteField(name.kind, value);
    at = end + 2;
  }
}

function trimmed(text: string, from: number, to: number): string {
  while (from < to && isSpace(text.charCodeAt(from))) from += 1;
  while (to > from && isSpace(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function malformed(): HttpError {
  return new HttpError('protocol', 'the answer has a malformed field line');
}
