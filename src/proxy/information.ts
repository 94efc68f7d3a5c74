import type { ServerResponse } from 'node:http';
import { responseFields } from './response-headers.js';

/**
 * One link of a list (RFC 8288 §3), as far as Node takes it: no spaces in quotes. Each character has one way to match, since
 * Node's own pattern takes time exponential in the parameters of a link that it refuses.
 */
const linkPattern = /[ \t]*(<[^<>"\s]*>(?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+(?:=(?:"[^";\s]*"|[^",;\s=]*))?)*)[ \t]*(?:,|$)/y;

/**
 * Passes an informational answer on (RFC 9110 §15.2), its headers by the rules of any answer's: 102, and 103 with links that
 * are well formed. Others Node has no public way to send; 100 it sends itself. Not to HTTP/1.0 callers, who do not know them,
 * and not to those who do not read what they have been sent. `secrets`: what no header may quote.
 */
export function passInformation(response: ServerResponse, status: number, rawHeaders: readonly string[], secrets: readonly string[]): void {
  if (response.headersSent || response.req.httpVersion === '1.0' || response.writableLength > response.writableHighWaterMark) return;
  if (status === 102) response.writeProcessing();
  if (status === 103) response.writeEarlyHints(hintsOf(rawHeaders, secrets));
}

function hintsOf(rawHeaders: readonly string[], secrets: readonly string[]): Record<string, string | string[]> {
  // Without a body there is no length to tell, as with 204.
  const { headers } = responseFields(204, rawHeaders, secrets);
  const others: Record<string, string> = Object.create(null);
  const link: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i]!.toLowerCase(), headers[i + 1]!];
    if (name === 'link') link.push(...linksOf(value));
    else others[name] = others[name] === undefined ? value : `${others[name]}, ${value}`;
  }
  // Without a link, Node sends nothing.
  return { ...others, link };
}

/** The links of a header; none when it is malformed. */
function linksOf(value: string): string[] {
  const links: string[] = [];
  for (linkPattern.lastIndex = 0; linkPattern.lastIndex < value.length;) {
    const found = linkPattern.exec(value);
    if (!found) return [];
    links.push(found[1]!);
  }
  return links;
}
