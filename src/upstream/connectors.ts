import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import type { UpstreamClient } from './client.js';
import { invalidResponse } from './errors.js';

/** A connector as the upstream lists it; members besides these pass through. */
export const ConnectorSchema = Type.Object({
  name: Type.String(),
  platform: Type.String(),
  category: Type.Optional(Type.Union([Type.String(), Type.Null()])),
}, { additionalProperties: true });
/** One such connector. */
export type Connector = Static<typeof ConnectorSchema> & Record<string, unknown>;

const Page = Type.Object({ rows: Type.Array(ConnectorSchema), pages: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })) });

/** Every connector the upstream offers, all pages; `authkit` narrows to those AuthKit can connect. */
export async function fetchConnectors(upstream: UpstreamClient, authkit: boolean | undefined): Promise<Connector[]> {
  const rows: Connector[] = [];
  for (let page = 1; ; page += 1) {
    const { body } = await upstream.call('GET', '/v1/available-connectors', {
      query: { authkit: authkit === undefined ? undefined : String(authkit), limit: 300, page },
    });
    if (!Value.Check(Page, body)) throw invalidResponse('it is not a page of connectors');
    rows.push(...body.rows as Connector[]);
    if (body.rows.length === 0 || page >= (body.pages ?? 1)) return rows;
  }
}
