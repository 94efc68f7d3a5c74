import type { Identity } from '../auth/identity.js';
import type { DemoOptions } from './routes.js';

/** Issues a key with the given scopes, bound to an identity until a time. */
export type IssueKey = (request: { name: string; scopes: string[]; boundTo: Identity; expiresAt: Date }) => Promise<string>;

/** Opens an AuthKit session of the identity and returns its token. */
export type OpenSession = (owner: Identity, expiresInSeconds: number) => Promise<string>;

const sessionMinutes = 10;
const pageMinutes = 60;

/**
 * The demo's own "login": what an application's backend does once it knows who its user is. The widget, whose headers end up
 * in its vendor's access logs (upstream.md), gets an AuthKit session, with which the page also claims what was connected; for
 * its list and its console, which an application's backend would do for it, the page gets a key bound to the identity.
 */
export function createDemoLogin(issueKey: IssueKey, openSession: OpenSession, now: () => number = Date.now): DemoOptions['login'] {
  return async (boundTo) => {
    const expiresAt = new Date(now() + pageMinutes * 60_000);
    const [key, token] = await Promise.all([
      issueKey({ name: 'demo page', scopes: ['connections:read', 'connections:write', 'integrations:read', 'proxy'], boundTo, expiresAt }),
      openSession(boundTo, sessionMinutes * 60),
    ]);
    return { key, widgetHeaders: { authorization: `Bearer ${token}` }, expiresAt: expiresAt.toISOString() };
  };
}
