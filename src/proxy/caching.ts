import { rememberTexts } from './header-names.js';

/** The request headers by which an answer is chosen, as a `Vary` value. Two callers differ in one of them at least. */
export const varyOfOurs = 'Authorization, X-Api-Key, X-User-Id, X-Identity, X-Identity-Type, X-Connection-Id, X-Pica-Action-Id, X-One-Action-Id, X-Authkit-Explain';

const ours = new Set(varyOfOurs.toLowerCase().split(', '));
const longestVary = 1_000;
const token = /^[\w!#$%&'*+.^`|~-]+$/;
const directive = /^([\w!#$%&'*+.^`|~-]+)(?:[ \t]*=[ \t]*(?:[\w!#$%&'*+.^`|~-]+|"(?:[^"\\]|\\.)*"))?$/;
/** What lets a shared cache keep an answer; `private` is said once, by us, and for all of it. */
const shared = new Set(['public', 's-maxage', 'private']);
const unstored = 'private, no-store';

/**
 * The `Vary` (RFC 9110 §12.5.5) of a provider's answer: the names that the provider gives, undefined for none, and those by
 * which we choose. A header may reach the provider as `x-upstream-{name}`, so that counts too.
 */
export function varyOf(given: string | undefined): string {
  return given === undefined ? varyOfOurs : varyWith(given);
}

const varyWith = rememberTexts((given) => {
  if (given.length > longestVary) return '*';
  const names = given.split(',').map((name) => name.trim());
  if (names.includes('*')) return '*';
  const seen = new Set(ours);
  const vary = [varyOfOurs];
  for (const name of names) {
    const lower = name.toLowerCase();
    if (!token.test(name) || seen.has(lower)) continue;
    const explicit = `x-upstream-${lower}`;
    seen.add(lower).add(explicit);
    vary.push(name);
    if (!lower.startsWith('x-upstream-')) vary.push(explicit);
  }
  return vary.join(', ');
});

/**
 * The `Cache-Control` (RFC 9111 §5.2) of a provider's answer: the provider's directives without those that let a shared cache
 * keep it, and `private` for all of it. `private, no-store` where there are none, or where they cannot be read for certain.
 */
export function cacheControlOf(given: string | undefined): string {
  return given === undefined ? unstored : cacheControlWith(given);
}

const cacheControlWith = rememberTexts((given) => {
  const items = listItems(given);
  if (!items?.length) return unstored;
  const kept: string[] = ['private'];
  for (const item of items) {
    const name = directive.exec(item)?.[1]?.toLowerCase();
    if (name === undefined) return unstored;
    if (!shared.has(name)) kept.push(item);
  }
  return kept.join(', ');
});

/** The members of a list (RFC 9110 §5.6.1), with commas in quoted strings left alone; undefined where a quote stays open. */
function listItems(value: string): string[] | undefined {
  const items: string[] = [];
  let quoted = false;
  let start = 0;
  for (let at = 0; at <= value.length; at += 1) {
    const character = value[at];
    if (character === '\\' && quoted) at += 1;
    else if (character === '"') quoted = !quoted;
    else if (at >= value.length || (character === ',' && !quoted)) {
      const item = value.slice(start, at).trim();
      if (item !== '') items.push(item);
      start = at + 1;
    }
  }
  return quoted ? undefined : items;
}
