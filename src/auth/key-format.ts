import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretLength = 32;
const checksumLength = 6;

/** What a credential of ours begins with: an API key, or an AuthKit session's token. */
export type TokenPrefix = 'agk_' | 'ags_';

// The prefix, 32 random base62 characters (190 bits), and 6 of CRC-32 over them.
const form = new RegExp(`^(ag[ks]_)[0-9A-Za-z]{${secretLength + checksumLength}}$`);

/** A new random credential in plain text. */
export function generateToken(prefix: TokenPrefix): string {
  let secret = '';
  while (secret.length < secretLength) {
    for (const byte of randomBytes(64)) {
      // Bytes past the last whole multiple of 62 are dropped: they would favour the first characters.
      if (byte < 248 && secret.length < secretLength) secret += alphabet[byte % 62];
    }
  }
  return `${prefix}${secret}${checksum(secret)}`;
}

/** Whether `token` has the form of ours and its checksum fits: a typo is told apart without a look-up. */
export function isWellFormedToken(prefix: TokenPrefix, token: string): boolean {
  return form.exec(token)?.[1] === prefix && checksum(token.slice(4, 4 + secretLength)) === token.slice(4 + secretLength);
}

/** A new random API key in plain text. */
export const generateKey = (): string => generateToken('agk_');

/** Whether `key` is an API key by its form. */
export const isWellFormedKey = (key: string): boolean => isWellFormedToken('agk_', key);

/** Whether a text contains a credential of ours. */
export function containsToken(text: string): boolean {
  return (text.match(/ag[ks]_[0-9A-Za-z]{38}/g) ?? []).some((found) => isWellFormedToken(found.slice(0, 4) as TokenPrefix, found));
}

/** The hex SHA-256 of a key: the only form in which one is stored or compared. */
export function digestKey(key: string): string {
  return hash('sha256', key);
}

/** What a listing shows of a key so that its owner recognises it: the first characters. */
export function keyHint(key: string): string {
  return `${key.slice(0, 8)}…`;
}

function checksum(secret: string): string {
  let value = crc32(secret);
  let text = '';
  for (let i = 0; i < checksumLength; i += 1) {
    text = alphabet[value % 62] + text;
    value = Math.floor(value / 62);
  }
  return text;
}
