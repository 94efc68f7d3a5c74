import Type from 'typebox';

/** The scopes a key may carry, and what each one opens. `proxy:{platform}` narrows `proxy` to one platform. */
export const scopes = {
  'authkit:token': 'Issue AuthKit tokens.',
  'authkit:sessions': 'Create and end AuthKit sessions.',
  'connections:read': 'Read stored connections.',
  'connections:write': 'Store, change, delete and sync connections.',
  'integrations:read': 'Read the catalogue of integrations.',
  proxy: 'Call any platform through the proxy.',
  'webhooks:manage': 'Create, list, change and delete webhooks, and retry their deliveries.',
  'api-keys:manage': 'Create, list, revoke and rotate API keys.',
} as const;

/** A scope that a route may ask for. */
export type Scope = keyof typeof scopes;

/** A scope as a key carries it: one of {@link scopes}, or `proxy:{platform}`. */
export const ScopeSchema = Type.String({
  pattern: `^(?:${Object.keys(scopes).join('|')}|proxy:[a-z0-9][a-z0-9._-]{0,63})$`,
  description: `One of ${Object.keys(scopes).join(', ')}, or proxy:{platform}.`,
});

/** Whether `granted` opens `scope`; for the proxy, on `platform`. `*` (the root key) opens everything. */
export function opens(granted: readonly string[], scope: string, platform?: string): boolean {
  if (granted.includes('*') || granted.includes(scope)) return true;
  if (scope === 'proxy') return platform !== undefined && granted.includes(`proxy:${platform}`);
  return scope.startsWith('proxy:') && granted.includes('proxy');
}
