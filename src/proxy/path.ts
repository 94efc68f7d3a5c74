import { Problem } from '../errors.js';

const prefix = '/proxy/';

/**
 * What the router sees of a request's URL: a proxied path is the provider's and may be anything, so it is left out, and the
 * router neither decodes it nor refuses it. The request's own URL stays in `request.originalUrl`.
 */
export function routableUrl(rawUrl: string): string {
  const url = originForm(rawUrl);
  if (!url.startsWith(prefix)) return url;
  const slash = url.indexOf('/', prefix.length);
  const query = url.indexOf('?');
  if (slash < 0 || (query >= 0 && query < slash)) return url;
  return query < 0 ? url.slice(0, slash + 1) : url.slice(0, slash + 1) + url.slice(query);
}

/** A request target as a path: clients that take us for a forward proxy send a whole URL (RFC 9112 §3.2.2). */
function originForm(target: string): string {
  return target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?#]*/i, '');
}

/**
 * The path and query after `/proxy/{platform}`, byte for byte as they came, starting with a slash. 400 `invalid_path` for
 * anything that a server which decodes or normalises paths could read as leaving the passthrough, and for a fragment,
 * which no request target has (RFC 9112 §3.2).
 */
export function providerTarget(rawUrl: string): string {
  const url = originForm(rawUrl);
  const target = url.slice(url.indexOf('/', url.indexOf('/', 1) + 1));
  const query = target.indexOf('?');
  if (escapes(query < 0 ? target : target.slice(0, query))) throw invalidPath();
  if (target.includes('#')) throw invalidPath();
  return target;
}

/** The platform of a proxied path, or 400 `invalid_path` for what could not be one. */
export function platformSegment(platform: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/i.test(platform)) throw invalidPath();
  return platform;
}

function invalidPath(): Problem {
  return new Problem('invalid_path', 'The path must not hold dot segments, backslashes, NUL or a fragment, in any encoding.', {
    errors: [{ field: 'path', message: 'could be read as leaving the platform' }],
  });
}

const plain = /^[!$&-:=@-Z_a-z~]*$/;
const plainDots = /(?:^|\/)\.\.?(?:\/|$)/;
const maxDecodings = 5;

function escapes(path: string): boolean {
  if (plain.test(path)) return plainDots.test(path);
  let text = path;
  for (let round = 0; round <= maxDecodings; round += 1) {
    if (isUnsafe(text)) return true;
    const decoded = decodeOnce(text);
    if (decoded === text) return false;
    text = decoded;
  }
  // Encoded more often than anything honest is.
  return true;
}

function isUnsafe(path: string): boolean {
  const plainText = withoutOverlong(path);
  return [plainText, asUnicode(plainText)].some((text) => /[\\\0]/.test(text) || text.split('/').some(isDotSegment));
}

// Some servers cut path parameters (`..;a=b`), or decode before they look for the query and the fragment; parsers drop
// tabs, line ends and other characters that cannot be seen.
function isDotSegment(segment: string): boolean {
  const name = segment.split(/[;?#]/, 1)[0]!.replace(/[\p{Cc}\p{Cf}]/gu, '').trim();
  return name === '.' || name === '..';
}

// %uXXXX is no URL encoding, but servers of some families read it.
function decodeOnce(text: string): string {
  return text
    .replace(/%u([0-9a-f]{4})/gi, (_, hex: string) => Buffer.from(String.fromCharCode(Number.parseInt(hex, 16)), 'utf8').toString('latin1'))
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

// UTF-8 of more bytes than needed (RFC 3629 §10): a lenient decoder reads these as NUL, dot, slash or backslash.
function withoutOverlong(text: string): string {
  return text.replace(/(?:\xc0|\xe0\x80|\xf0\x80\x80)([\x80\xae\xaf])|(?:\xc1|\xe0\x81|\xf0\x80\x81)(\x9c)/g, (_, low?: string) => (
    low === '\x80' ? '\0' : low === '\xae' ? '.' : low === '\xaf' ? '/' : '\\'
  ));
}

// Full-width dots and slashes become plain ones where a server normalises names (NFKC); the fraction and the division slash
// where it maps them to an older character set.
function asUnicode(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8').normalize('NFKC').replace(/[\u2044\u2215]/g, '/');
}
