const name = /^[!#$%&'*+.^_`|~\w-]+$/;
const value = /^[\t\x20-\x7e]+$/;

/**
 * Reads `OTEL_EXPORTER_OTLP_HEADERS`: a comma list of `name=value`, each value percent-encoded (OpenTelemetry's "OTLP
 * Exporter Configuration"). Nothing gives no headers; undefined: the list is malformed, or HTTP could not carry it.
 */
export function parseOtlpHeaders(list = ''): Record<string, string> | undefined {
  const headers: Record<string, string> = {};
  for (const pair of list.split(',').map((item) => item.trim()).filter(Boolean)) {
    const at = pair.indexOf('=');
    const key = pair.slice(0, Math.max(at, 0)).trim();
    const decoded = decode(pair.slice(at + 1).trim());
    if (!name.test(key) || decoded === undefined || !value.test(decoded)) return undefined;
    headers[key] = decoded;
  }
  return headers;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
