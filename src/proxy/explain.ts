import type { FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Plan } from './plan.js';

/** The answer to `x-authkit-explain: true`. */
export const ExplanationSchema = Type.Object({
  connection: Type.Object({ id: Type.String(), platform: Type.String(), environment: Type.String(), identity: Type.String(), identityType: Type.String(), rule: Type.String() }),
  action: Type.Object({
    id: Type.Union([Type.String(), Type.Null()]), title: Type.Union([Type.String(), Type.Null()]), path: Type.Union([Type.String(), Type.Null()]), rule: Type.String(),
  }),
  upstream: Type.Object({ method: Type.String(), path: Type.String(), headers: Type.Array(Type.Array(Type.String(), { minItems: 2, maxItems: 2 })) }),
});

const secret = /^(?:authorization|proxy-authorization|cookie|.*(?:secret|token|api[-_]?key|password|signature|connection-key).*)$/i;

/** Answers what would be sent, with everything that looks like a credential masked. Nothing is sent. */
export function explain(reply: FastifyReply, plan: Plan, upstream: { path: string; headers: readonly string[] }, byId: boolean): void {
  const { connection, resolution: { match, rule } } = plan;
  const headers: string[][] = [];
  for (let i = 0; i < upstream.headers.length; i += 2) {
    const name = upstream.headers[i]!;
    headers.push([name, secret.test(name) ? '[secret]' : upstream.headers[i + 1]!]);
  }
  const explanation: Static<typeof ExplanationSchema> = {
    connection: {
      id: connection.id, platform: connection.platform, environment: connection.environment, identity: connection.identity, identityType: connection.identityType,
      rule: byId ? 'x-connection-id' : 'the only connection of the identity on the platform; failed ones count only when there is no other, those that the vault does not have never',
    },
    action: { id: match?.action.id ?? null, title: match?.action.title ?? null, path: match?.action.path ?? null, rule },
    upstream: { method: reply.request.method, path: upstream.path, headers },
  };
  void reply.header('cache-control', 'no-store').header('x-authkit-explain', 'true').type('application/json').serializer(JSON.stringify).send(explanation);
}
