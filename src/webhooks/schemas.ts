import Type from 'typebox';
import { eventTypes } from '../persistence/outbox.js';
import { Nullable, OneOf, PageQuery, printable, Time } from '../schemas.js';

const UrlSchema = Type.String({ minLength: 1, maxLength: 2048, description: 'https; its host must not resolve to a private address.' });
const EventsSchema = Type.Array(OneOf(eventTypes), { maxItems: eventTypes.length, uniqueItems: true, description: 'What it is told; everything when empty.' });
const DescriptionSchema = Nullable(Type.String({ maxLength: 256, pattern: printable }));

/** The body of `POST /webhooks`. */
export const WebhookRequestSchema = Type.Object({
  url: UrlSchema,
  events: Type.Optional(EventsSchema),
  description: Type.Optional(DescriptionSchema),
}, { additionalProperties: false, examples: [{ url: 'https://app.example.com/hooks/connections', events: ['connection.state_changed'] }] });

/** The body of `PATCH /webhooks/:id`. */
export const WebhookChangeSchema = Type.Object({
  url: Type.Optional(UrlSchema),
  events: Type.Optional(EventsSchema),
  description: Type.Optional(DescriptionSchema),
  active: Type.Optional(Type.Boolean({ description: 'An inactive one hears of nothing new; what waits for it, waits on.' })),
  rotateSecret: Type.Optional(Type.Literal(true, { description: 'Answer with a new secret.' })),
  overlapSeconds: Type.Optional(Type.Integer({
    minimum: 0, maximum: 604_800, description: 'Only with rotateSecret: how long the old secret signs too; a day unless given, a week at most.',
  })),
}, { additionalProperties: false, minProperties: 1, examples: [{ rotateSecret: true, overlapSeconds: 3600 }] });

const webhookMembers = {
  id: Type.String({ format: 'uuid' }),
  url: Type.String(),
  events: Type.Array(Type.String()),
  description: Nullable(Type.String()),
  active: Type.Boolean(),
  inactiveReason: Nullable(Type.String({ description: '`gone` when its receiver answered 410 Gone, which switches it off; `active: true` switches it on again.' })),
  previousSecretUntil: Nullable(Type.String({ format: 'date-time', description: 'Until when the secret before the current one signs too.' })),
  createdAt: Time,
  updatedAt: Time,
};
const webhookExample = {
  id: '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', url: 'https://app.example.com/hooks/connections', events: ['connection.state_changed'], description: null,
  active: true, inactiveReason: null, previousSecretUntil: null, createdAt: '2026-01-01T00:00:00.000Z', updatedAt: '2026-01-01T00:00:00.000Z',
};

/** A webhook in answers: never its secret. */
export const WebhookSchema = Type.Object(webhookMembers, { $id: 'Webhook', examples: [webhookExample] });

/** The answer that makes a secret: the one time it is shown. */
export const WebhookWithSecretSchema = Type.Object({
  ...webhookMembers, secret: Type.Optional(Type.String({ description: 'The signing secret, when this answer made it. It is not shown again.' })),
}, { $id: 'WebhookWithSecret', examples: [{ ...webhookExample, secret: 'whsec_…' }] });

/** A page of `GET /webhooks`. */
export const WebhookPageSchema = Type.Object({ rows: Type.Array(WebhookSchema), nextCursor: Nullable(Type.String()) }, {
  examples: [{ rows: [webhookExample], nextCursor: null }],
});

/** The filter and the page of `GET /webhooks/:id/deliveries`. */
export const DeliveryQuerySchema = Type.Object({
  status: Type.Optional(OneOf(['pending', 'delivered', 'parked'])),
  ...PageQuery,
}, { additionalProperties: false });

/** `:id` and `:delivery` in a path. */
export const DeliveryParams = Type.Object({ id: Type.String({ format: 'uuid' }), delivery: Type.String({ format: 'uuid' }) });

const deliveryExample = {
  id: '01938f7e-6000-7d3e-9b0a-3f2d1c0b9a87', eventId: '01938f7e-5fff-7d3e-9b0a-3f2d1c0b9a87', type: 'connection.state_changed',
  connectionId: '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', status: 'parked', attempts: 11, nextAttemptAt: null, lastAttemptAt: '2026-01-02T00:00:00.000Z',
  lastStatus: 500, lastError: 'status', deliveredAt: null, createdAt: '2026-01-01T00:00:00.000Z',
};

/** An event on its way to one webhook. */
export const DeliverySchema = Type.Object({
  id: Type.String({ format: 'uuid' }),
  eventId: Type.String({ format: 'uuid', description: 'Sent as webhook-id.' }),
  type: Type.String(),
  connectionId: Type.String({ format: 'uuid' }),
  status: Type.String({ description: 'pending, delivered or parked.' }),
  attempts: Type.Integer(),
  nextAttemptAt: Nullable(Time),
  lastAttemptAt: Nullable(Time),
  lastStatus: Nullable(Type.Integer({ description: 'The status of the last answer; none when there was no answer.' })),
  lastError: Nullable(Type.String({ description: 'status, timeout, unreachable, unresolvable, tls or target_refused.' })),
  deliveredAt: Nullable(Time),
  createdAt: Time,
}, { $id: 'WebhookDelivery', examples: [deliveryExample] });

/** A page of deliveries. */
export const DeliveryPageSchema = Type.Object({ rows: Type.Array(DeliverySchema), nextCursor: Nullable(Type.String()) }, {
  examples: [{ rows: [deliveryExample], nextCursor: null }],
});
