/** What a guesser has to try at least, in bits, by how often each character occurs. */
const minEntropyBits = 80;

/** The root keys in `ADMIN_API_KEY`: one or two, comma-separated, so that a new one can be given out before the old one goes. */
export function rootKeys(list: string): string[] {
  return list.split(',').map((key) => key.trim());
}

/** What is wrong with `ADMIN_API_KEY`, in one line without its value, or undefined: one or two different keys of 32–256 characters that are hard to guess. */
export function rootKeyProblem(list: string): string | undefined {
  const keys = rootKeys(list);
  if (keys.length > 2 || keys.some(({ length }) => length < 32 || length > 256)) return 'must be one or two keys of 32–256 characters, comma-separated.';
  if (keys[0] === keys[1]) return 'names one key twice.';
  return keys.some(isGuessable) ? 'is too easy to guess: few different characters, repeated or in order. Take one from: openssl rand -hex 32' : undefined;
}

function isGuessable(key: string): boolean {
  return entropyBits(key) < minEntropyBits || repeats(key) || isInOrder(key);
}

/** Shannon's entropy of the characters, times their number. */
function entropyBits(key: string): number {
  const counts = new Map<string, number>();
  for (const character of key) counts.set(character, (counts.get(character) ?? 0) + 1);
  return [...counts.values()].reduce((bits, count) => bits + count * Math.log2(key.length / count), 0);
}

/** Whether it is a shorter text over and over, the last time perhaps in part. */
function repeats(key: string): boolean {
  for (let period = 1; period <= key.length / 2; period += 1) if (key.startsWith(key.slice(period))) return true;
  return false;
}

/** Whether most characters follow the one before them, as in 0123456789 and zyxwv. */
function isInOrder(key: string): boolean {
  let steps = 0;
  for (let at = 1; at < key.length; at += 1) if (Math.abs(key.charCodeAt(at) - key.charCodeAt(at - 1)) <= 1) steps += 1;
  return steps > key.length / 2;
}
