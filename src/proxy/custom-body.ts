import { type Chosen, foreignConnection, isConnectionKey, mismatch, namesChosen } from './connection-key-member.js';

const [quote, backslash, brace, bracket, closingBrace, closingBracket, colonMark, comma] = [0x22, 0x5c, 0x7b, 0x5b, 0x7d, 0x5d, 0x3a, 0x2c];
const utf8 = new TextDecoder('utf-8', { fatal: true });
const shortestName = '"connectionKey"'.length;
/** What describes the bytes of a body: it is not true of another body. */
const describing = /^(?:content-(?:type|encoding|language|md5|digest)|digest|repr-digest|want-.*digest)$/i;

/**
 * The body of a custom action: the caller's JSON object with the chosen connection's key as its one `connectionKey`, all other
 * members byte for byte; no body counts as an empty object. 422 `action_mismatch` for one that names another connection, whichever
 * of several members does, and for what is no JSON object in UTF-8 (RFC 8259): a parser that is less strict could read it otherwise.
 */
export function withConnectionKey(body: Buffer | null, chosen: Chosen): Buffer {
  const { others, named } = body === null || body.length === 0 ? { others: [], named: [] } : read(body);
  if (!named.every((value) => namesChosen(JSON.parse(value), chosen))) throw foreignConnection();
  return Buffer.from(`{${[`"connectionKey":${JSON.stringify(chosen.key)}`, ...others].join(',')}}`, 'utf8');
}

/** Headers for {@link withConnectionKey}: JSON, whatever the caller called it. 422 `action_mismatch` for an encoded body. */
export function customHeaders(headers: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (name === 'content-encoding' && !/^\s*(?:identity)?\s*$/i.test(headers[i + 1]!)) {
      throw mismatch('A custom action\'s body is taken without a content coding.', 'must be absent', 'header.content-encoding');
    }
    if (!describing.test(name)) kept.push(headers[i]!, headers[i + 1]!);
  }
  kept.push('content-type', 'application/json');
  return kept;
}

/** 422 `action_mismatch` for a query that a server which merges it with the body could read a connection from. */
export function refuseInQuery(target: string): void {
  const query = target.indexOf('?');
  if (query < 0) return;
  for (const name of new URLSearchParams(target.slice(query + 1)).keys()) {
    if (isConnectionKey(name.replace(/\[.*$/s, '').trim())) {
      throw mismatch('A custom action takes no connectionKey in the query.', 'must be absent', 'query.connectionKey');
    }
  }
}

/** An object as it is written: the values of its `connectionKey`, and its other members, neighbours together. */
type Parts = { others: string[]; named: string[] };

function read(body: Buffer): Parts {
  try {
    const text = utf8.decode(body).trim();
    // First, because a parser's time and memory grow with the depth.
    const parts = text.startsWith('{') ? partsOf(text) : undefined;
    JSON.parse(text);
    if (parts) return parts;
  } catch {
    // Told below: the parser's own words quote the body.
  }
  throw mismatch('A custom action takes a JSON object.', 'must be a JSON object in UTF-8', 'body');
}

const maxDepth = 1_000;

/** The parts of an object. Of text that is no JSON, anything; throws where it is nested too deep, which parsers pay for. */
function partsOf(text: string): Parts {
  const parts: Parts = { others: [], named: [] };
  let depth = 0;
  let run = 1;
  let start = 1;
  let colon = 0;
  const keep = (end: number): void => {
    const members = text.slice(run, end).trim();
    if (members !== '') parts.others.push(members);
  };
  for (let i = 0; i < text.length; i += 1) {
    const mark = text.charCodeAt(i);
    if (mark === quote) {
      for (i += 1; i < text.length && text.charCodeAt(i) !== quote; i += 1) if (text.charCodeAt(i) === backslash) i += 1;
    } else if (mark === brace || mark === bracket) {
      depth += 1;
      if (depth > maxDepth) throw new RangeError('nested too deep');
    } else if (depth === 1 && mark === colonMark) {
      colon = i;
    } else if (mark === comma || mark === closingBrace || mark === closingBracket) {
      if (depth === 1) {
        if (colon - start >= shortestName && isConnectionKey(JSON.parse(text.slice(start, colon)) as string)) {
          parts.named.push(text.slice(colon + 1, i));
          keep(start - 1);
          run = i + 1;
        }
        start = i + 1;
        if (mark !== comma) keep(i);
      }
      if (mark !== comma) depth -= 1;
    }
  }
  return parts;
}
