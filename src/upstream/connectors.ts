import Type, { type Static } from 'typebox';
import type { UpstreamClient } from './client.js';
import { allRows } from './pages.js';

/** A connector as the upstream lists it; members besides these pass through. */
export const ConnectorSchema = Type.Object({
  name: Type.String(),
  platform: Type.String(),
  category: Type.Optional(Type.Union([Type.String(), Type.Null()])),
}, { additionalProperties: true });
/** One such connector. */
export type Connector = Static<typeof ConnectorSchema> & Record<string, unknown>;

/** Every connector the upstream offers, all pages; `authkit` narrows to those AuthKit can connect. */
export async function fetchConnectors(upstream: UpstreamClient, authkit: boolean | undefined): Promise<Connector[]> {
  const rows = await allRows(upstream, {
    path: '/v1/available-connectors', query: { authkit: authkit === undefined ? undefined : String(authkit) }, row: ConnectorSchema, limit: 300, name: 'connectors',
  });
  return rows as Connector[];
}
