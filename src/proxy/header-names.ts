/** Makes something of a text once and remembers it. The map is bounded: texts come from callers and providers. */
export function rememberTexts<T>(make: (text: string) => T, limit = 2_000): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    const seen = known.get(text);
    if (seen !== undefined) return seen;
    const made = make(text);
    if (known.size < limit && text.length <= 128) known.set(text, made);
    return made;
  };
}

/** Classifies a header name once and remembers it. */
export function rememberNames<T>(classify: (lowerCaseName: string) => T, limit = 2_000): (name: string) => T {
  return rememberTexts((name) => classify(name.toLowerCase()), limit);
}

/** Hop-by-hop fields, which a proxy never passes on (RFC 9110 §7.6.1), and framing, which each side decides for itself. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings',
]);

/** The lower-case names listed in a `Connection` value: they are hop-by-hop too. */
export function connectionOptions(value: string): string[] {
  return value.toLowerCase().split(',').map((name) => name.trim()).filter((name) => name !== '' && name !== 'close' && name !== 'keep-alive');
}

/** The first value of a header in a flat list; `name` is lower-case. */
export function headerValue(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) return headers[i + 1];
  }
  return undefined;
}
