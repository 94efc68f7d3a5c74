import { createHash, randomBytes } from 'node:crypto';

/** A fresh id in the upstream's form: `conn::11 characters::22 characters`. */
export function newId(prefix: string): string {
  return `${prefix}::${randomBytes(8).toString('base64url')}::${randomBytes(16).toString('base64url')}`;
}

/** The same form, but always the same for the same `name`, so catalogue ids survive a restart. */
export function stableId(prefix: string, name: string): string {
  const digest = createHash('sha256').update(name).digest();
  return `${prefix}::${digest.subarray(0, 8).toString('base64url')}::${digest.subarray(8, 24).toString('base64url')}`;
}
