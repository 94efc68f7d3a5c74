/**
 * The value of `Server-Timing` (W3C Server Timing §2): how long the credential, the connection and the upstream took, in
 * milliseconds with two digits.
 */
export function serverTiming(auth: number, lookup: number, upstream: number): string {
  return `auth;dur=${hundredths(auth)}, lookup;dur=${hundredths(lookup)}, upstream;dur=${hundredths(upstream)}`;
}

// toFixed is slow enough to show in a profile.
function hundredths(value: number): string {
  const all = Math.round(value * 100);
  const rest = all % 100;
  return `${(all - rest) / 100}.${rest < 10 ? '0' : ''}${rest}`;
}
