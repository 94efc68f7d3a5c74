import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { Problem } from '../errors.js';

/** Looks a host's addresses up; rejects as `dns.lookup` does. */
export type Resolve = (hostname: string) => Promise<Address[]>;
/** One address of a name, as `dns.lookup` gives it. */
export type Address = { address: string; family: number };

/** Where webhooks may go, and how names are looked up. */
export type TargetRules = {
  /** Let private, link-local and loopback addresses through, and loopback without TLS. */
  allowPrivate: boolean;
  resolve?: Resolve;
};

/** Where a webhook goes: its URL, and the only addresses that may be dialled for it. */
export type Target = { url: URL; addresses: Address[] };

const privateRanges = new Set(['private', 'loopback', 'linkLocal', 'uniqueLocal', 'carrierGradeNat']);
const onlyLoopback = 'without TLS it may only go to a loopback address';
// Azure's metadata and DHCP service, the same in every virtual network, though its number is a public one
// (learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
const azurePlatform = '168.63.129.16';
const lookUpMs = 3_000;
const none = (): Address[] => [];
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Resolves a webhook's URL once, so that what was checked is what is dialled (a second look-up could answer differently).
 * 422 `webhook_target_refused` unless it is https, without credentials, and every address of its host is a public unicast
 * one; so that no webhook reaches inside: metadata services, neighbours, this machine (OWASP, "SSRF prevention"). Rejects
 * with the look-up's failure, or a TimeoutError when it takes longer than three seconds.
 */
export async function resolveTarget(text: string, { allowPrivate, resolve = resolveHost }: TargetRules): Promise<Target> {
  const url = parseTarget(text, allowPrivate);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const family = isIP(host);
  const addresses = family === 0 ? await before(AbortSignal.timeout(lookUpMs), resolve(host)).catch(url.protocol === 'http:' ? none : undefined) : [{ address: host, family }];
  if (url.protocol === 'http:' && addresses.length === 0) throw refused(onlyLoopback);
  if (addresses.length === 0) throw Object.assign(new Error('the host has no address'), { code: 'ENOTFOUND' });

  for (const { address } of addresses) {
    const range = rangeOf(address);
    if (range !== 'unicast' && !(allowPrivate && privateRanges.has(range))) throw refused('its host is, or resolves to, an address that is not public');
    if (url.protocol === 'http:' && range !== 'loopback') throw refused(onlyLoopback);
  }
  return { url, addresses };
}

/** What `work` gives, unless `signal` fires first: then its reason is the failure. The work itself goes on. */
export function before<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}

function parseTarget(text: string, allowPrivate: boolean): URL {
  if (!URL.canParse(text)) throw refused('it is not a URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && allowPrivate)) throw refused('it must be https');
  if (url.username || url.password) throw refused('it must not contain credentials');
  return url;
}

/** The kind of an address; what an IPv6 address wraps (mapped, NAT64, 6to4, Teredo) is not unicast, whatever is inside. */
function rangeOf(address: string): string {
  const ip = ipaddr.process(address.replace(/%.*$/, ''));
  if (ip.toString() === azurePlatform) return 'reserved';
  const range = ip.range();
  return range === 'unicast' && ip instanceof ipaddr.IPv6 && !ip.match(globalUnicast) ? 'reserved' : range;
}

function refused(reason: string): Problem {
  return new Problem('webhook_target_refused', `The webhook's URL is not allowed: ${reason}.`, { errors: [{ field: 'body.url', message: reason }] });
}

const resolveHost: Resolve = (hostname) => lookup(hostname, { all: true, order: 'verbatim' });
