import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, inflateRaw } from 'node:zlib';
import { BodyScan, couldMention, formMention, partMention } from './body-scan.js';
import { type Chosen, foreignConnection, mismatch } from './connection-key-member.js';
import { customHeaders, refuseInQuery, withConnectionKey } from './custom-body.js';
import { BoundedBody, collectBody, type RequestBody, tooLarge } from './request-body.js';

/** What of a call decides what its body may say. */
export type GuardedCall = Readonly<{ method: string; target: string; headers: string[]; connection: Chosen;
  /** Whether the action takes its credential from the body; undefined where that is not known. */
  custom: boolean | undefined }>;

/** What goes out, and the body as the caller sent it. */
export type GuardedBody = RequestBody & Readonly<{ headers: string[]; original: RequestBody['content'] }>;

const maxBufferedBytes = 1024 * 1024;
const maxDecodedBytes = 16 * 1024 * 1024;

/**
 * Sees to it that a body chooses no other connection than the call's, where the upstream's custom actions read one from it. A custom
 * action's body is taken whole and gets the connection's key. Where it is not known whether an action is custom, the body passes as
 * it is and is looked through on the way. Others are not touched. Throws or rejects with 422 `action_mismatch` for a body that
 * names another connection or cannot be read, and 413 `payload_too_large` for one over 1 MiB that would have to be taken whole; a
 * stream breaks off with these.
 */
export function guardBody(taken: RequestBody, call: GuardedCall): GuardedBody | Promise<GuardedBody> {
  const { content, length } = taken;
  const asItIs: GuardedBody = { content, length, headers: call.headers, original: content };
  if (call.custom === false) return asItIs;
  if (call.custom) {
    refuseInQuery(call.target);
    if (content === null && (call.method === 'GET' || call.method === 'HEAD')) return asItIs;
    const headers = customHeaders(call.headers);
    const complete = (body: Buffer | null): GuardedBody => {
      const completed = withConnectionKey(body, call.connection);
      return { content: completed, length: completed.length, headers, original: body };
    };
    return content instanceof BoundedBody ? collect(content, taken.length).then(complete) : complete(content);
  }
  return content === null ? asItIs : scan(asItIs, content, call);
}

function scan(asItIs: GuardedBody, content: Buffer | BoundedBody, { headers, connection }: GuardedCall): GuardedBody | Promise<GuardedBody> {
  const { type, coding } = describe(headers);
  const forms: RegExp[] = [];
  if (type.includes('x-www-form-urlencoded')) forms.push(formMention);
  if (type.includes('multipart/')) forms.push(partMention);
  const isJson = type.includes('json');
  if (isJson || forms.length > 0) refuseCharset(type);
  if (coding === '' && Buffer.isBuffer(content) && !couldMention(content, forms, isJson)) return asItIs;
  const found = new BodyScan(connection, forms, isJson);
  const refuse = (foreign: boolean): void => {
    if (foreign) throw foreignConnection();
  };
  if (coding !== '') {
    return collect(content, asItIs.length).then(async (encoded) => {
      refuse(found.whole(await undo(coding, encoded)));
      return { ...asItIs, content: encoded, original: encoded, length: encoded.length };
    });
  }
  if (Buffer.isBuffer(content)) refuse(found.whole(content));
  else content.guard = (chunk) => refuse(chunk ? found.write(chunk) : found.end());
  return asItIs;
}

async function collect(content: Buffer | BoundedBody, length: number | undefined): Promise<Buffer> {
  if (Buffer.isBuffer(content)) return content;
  if (length !== undefined && length > maxBufferedBytes) throw tooLarge(maxBufferedBytes);
  return collectBody(content, maxBufferedBytes);
}

/** Content types, and content codings but `identity`, in lower case. */
function describe(headers: readonly string[]): { type: string; coding: string } {
  let type = '';
  let coding = '';
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    // Most names have another length, which is cheaper to see.
    if (name.length === 12 && name.toLowerCase() === 'content-type') type += `${headers[i + 1]!.toLowerCase()},`;
    if (name.length === 16 && name.toLowerCase() === 'content-encoding') coding += `${headers[i + 1]!.toLowerCase()},`;
  }
  if (coding !== '') coding = coding.split(',').map((each) => each.trim()).filter((each) => each !== '' && each !== 'identity').join(',');
  return { type, coding };
}

/** Of other character sets (UTF-7, EBCDIC), ASCII's bytes do not show what a text says. */
function refuseCharset(type: string): void {
  for (const [, name] of type.matchAll(/charset\s*=\s*["']?([^\s;,"']*)/g)) {
    if (!/^(?:utf-?8|utf-?(?:16|32)(?:le|be)?|(?:us-)?ascii|iso-8859-\d+|latin-?\d|windows-125\d)$/.test(name!)) {
      throw mismatch('The body\'s character set cannot be read, so that it could name another connection.', 'must be UTF-8', 'header.content-type');
    }
  }
}

const limit = { maxOutputLength: maxDecodedBytes };

async function undo(coding: string, encoded: Buffer): Promise<Buffer> {
  try {
    if (coding === 'gzip' || coding === 'x-gzip') return await promisify(gunzip)(encoded, limit) as Buffer;
    if (coding === 'br') return await promisify(brotliDecompress)(encoded, limit) as Buffer;
    // Some send it without the zlib wrapper of RFC 9110 §8.4.1.2.
    if (coding === 'deflate') return await promisify((encoded[0]! & 0x0f) === 8 ? inflate : inflateRaw)(encoded, limit) as Buffer;
  } catch {
    // Told below.
  }
  throw mismatch(
    'The body\'s content coding cannot be undone, so that it could name another connection: send it plain, or name its action.',
    'must be gzip, deflate or br, and whole', 'header.content-encoding',
  );
}
