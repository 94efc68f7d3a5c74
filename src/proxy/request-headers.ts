import { connectionOptions, hopByHop, rememberNames } from './header-names.js';

const ours = /^(?:x-api-key|authorization|x-user-id|x-identity.*|x-connection-id|x-authkit-.*)$/;
const removed = /^(?:cookie|cookie2|host|expect|content-length|forwarded|via)$/;
/** By these, servers and frameworks on the way take another path, method, host or client address than the request's own. */
const steering = new RegExp(`^(?:${[
  'x-(?:original|rewrite|rewritten|raw|proxy|override)-(?:url|uri|path|method|host)', '(?:x-)?(?:http|request|base|proxy)-(?:url|uri|path)', 'x-(?:url|uri)',
  'x-(?:http-)?method(?:-override)?', 'x-(?:http-)?host(?:-override)?', 'proxy(?:-host)?', 'x-envoy-.*', 'x-middleware-.*',
  '(?:x-)?script-name', 'x-url-scheme', 'x-scheme', 'front-end-https',
  'x-forward(?:ed)?(?:-.*)?', 'forwarded-.*', '(?:x-)?(?:real|true|client|remote|originating|cluster|cluster-client|true-client|cf-connecting|fastly-client)-(?:ip|ipv6|addr)',
  'cf-connecting-ipv6?', 'x-client',
].join('|').replaceAll('-', '[-_]')})$`);
const notInTrailers = /^(?:content-.*|authorization|cache-control|expect|host|if-.*|max-forwards|pragma|range|set-cookie|te)$/;
const explicit = 'x-upstream-';

/** `drop`, `keep`, or the provider header that an `x-upstream-{name}` stands for. */
type Fate = Readonly<{ kind: 'drop' | 'keep' | 'connection' } | { kind: 'explicit'; name: string }>;
const drop: Fate = { kind: 'drop' };
const keep: Fate = { kind: 'keep' };
const connection: Fate = { kind: 'connection' };

const fateOf = rememberNames<Fate>((name) => {
  if (name === 'connection') return connection;
  if (hopByHop.has(name) || removed.test(name) || steering.test(name) || ours.test(name) || isUpstreams(name)) return drop;
  if (!name.startsWith(explicit)) return keep;
  const real = name.slice(explicit.length);
  const allowed = real !== '' && !hopByHop.has(real) && !isUpstreams(real) && !steering.test(real) && !/^(?:host|expect|content-length|x-authkit-.*)$/.test(real);
  return allowed ? { kind: 'explicit', name: real } : drop;
});

// Servers that map header names to variables read an underscore as a dash: x_pica_secret must not get through either.
function isUpstreams(name: string): boolean {
  return /^x[-_](?:pica|one)(?:[-_]|$)/.test(name);
}

/**
 * What a request says as `x-upstream-*`: a line for each, by name, in the order in which those of one name came. For telling
 * requests apart.
 */
export function explicitHeaders(rawHeaders: readonly string[]): string[] {
  const given: [name: string, value: string][] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const fate = fateOf(rawHeaders[i]!);
    if (fate.kind === 'explicit') given.push([fate.name, rawHeaders[i + 1]!]);
  }
  return given.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)).map(([name, value]) => `${name}: ${value}`);
}

/**
 * The headers that go upstream, as a flat list: all end-to-end ones except our credentials and selectors, cookies, traces
 * of the way here, what steers servers on the way, and everything in the upstream's own namespace. `x-upstream-{name}` arrives as `{name}`, and wins over
 * a plain `{name}`. Framing (`content-length`) is left to whoever sends the body.
 */
export function requestHeaders(rawHeaders: readonly string[]): string[] {
  const headers: string[] = [];
  let listed: string[] | undefined;
  let replaced: Set<string> | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const value = rawHeaders[i + 1]!;
    const fate = fateOf(name);
    if (fate.kind === 'keep') {
      headers.push(name, value);
    } else if (fate.kind === 'connection') {
      const names = connectionOptions(value);
      if (names.length > 0) (listed ??= []).push(...names);
    } else if (fate.kind === 'explicit') {
      (replaced ??= new Set()).add(fate.name);
    }
  }
  if (listed) removeNames(headers, new Set(listed));
  if (!replaced) return headers;
  removeNames(headers, replaced);
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const fate = fateOf(rawHeaders[i]!);
    if (fate.kind === 'explicit' && !listed?.includes(rawHeaders[i]!.toLowerCase())) headers.push(fate.name, rawHeaders[i + 1]!);
  }
  return headers;
}

/**
 * A request's trailers that go upstream: by the same rules as headers, and without the fields that frame, route or
 * authenticate a message or describe its content, which are not allowed there (RFC 9110 §6.5.1).
 */
export function requestTrailers(rawTrailers: readonly string[]): string[] {
  const trailers = requestHeaders(rawTrailers);
  const names = new Set<string>();
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i]!.toLowerCase();
    if (notInTrailers.test(name)) names.add(name);
  }
  if (names.size > 0) removeNames(trailers, names);
  return trailers;
}

function removeNames(headers: string[], names: ReadonlySet<string>): void {
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (names.has(headers[i]!.toLowerCase())) continue;
    headers[kept] = headers[i]!;
    headers[kept + 1] = headers[i + 1]!;
    kept += 2;
  }
  headers.length = kept;
}
