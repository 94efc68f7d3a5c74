import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { principalOf } from '../auth/plugin.js';
import { requireUnbound } from '../auth/unbound.js';
import { Problem } from '../errors.js';
import { bodyProblems, IdParams, PageQuery, problems, Ref } from '../schemas.js';
import {
  DeliveryPageSchema, DeliveryParams, DeliveryQuerySchema, DeliverySchema, WebhookChangeSchema, WebhookPageSchema, WebhookRequestSchema, WebhookSchema,
  WebhookWithSecretSchema,
} from './schemas.js';
import type { WebhookService } from './service.js';
import type { Delivery, Webhook } from './store.js';

const access = { scope: 'webhooks:manage' } as const;
const tags = ['webhooks'];
const dayInSeconds = 86_400;

/** `/webhooks`: who is told about connections, and how that went. For keys that are not bound to an identity. */
export const webhookRoutes: FastifyPluginAsyncTypebox<{ webhooks: WebhookService }> = async (app, { webhooks }) => {
  app.addSchema(WebhookSchema);
  app.addSchema(DeliverySchema);
  app.addHook('preValidation', async (request) => requireUnbound(principalOf(request)));

  app.post('/webhooks', {
    config: { access },
    schema: {
      operationId: 'createWebhook', tags, summary: 'Create a webhook',
      description: 'Connections\' events are posted to it, signed as Standard Webhooks. The signing secret is in this answer and never again.',
      body: WebhookRequestSchema,
      response: { 201: WebhookWithSecretSchema, ...problems('unbound_key_required', 'webhook_target_refused', ...bodyProblems) },
    },
  }, async (request, reply) => {
    const { url, events = [], description = null } = request.body;
    const webhook = await webhooks.create({ url, events, description });
    reply.code(201).header('cache-control', 'no-store').header('location', `/webhooks/${webhook.id}`);
    return { ...present(webhook), secret: webhook.secret };
  });

  app.get('/webhooks', {
    config: { access },
    schema: {
      operationId: 'listWebhooks', tags, summary: 'List webhooks', description: 'Newest first; never a secret.',
      querystring: Type.Object(PageQuery, { additionalProperties: false }),
      response: { 200: WebhookPageSchema, ...problems('unbound_key_required', 'invalid_cursor') },
    },
  }, async (request) => {
    const { rows, nextCursor } = await webhooks.list(request.query.cursor, request.query.limit);
    return { rows: rows.map(present), nextCursor };
  });

  app.get('/webhooks/:id', {
    config: { access },
    schema: {
      operationId: 'getWebhook', tags, summary: 'Get a webhook', params: IdParams,
      response: { 200: Ref(WebhookSchema, 'The webhook.'), ...problems('unbound_key_required', 'webhook_not_found') },
    },
  }, async (request) => present(await webhooks.get(request.params.id)));

  app.patch('/webhooks/:id', {
    config: { access },
    schema: {
      operationId: 'changeWebhook', tags, summary: 'Change a webhook, or rotate its secret',
      description: 'With `rotateSecret` the answer carries a new secret; the old one signs too for `overlapSeconds`.',
      params: IdParams, body: WebhookChangeSchema,
      response: { 200: WebhookWithSecretSchema, ...problems('unbound_key_required', 'webhook_not_found', 'webhook_target_refused', ...bodyProblems) },
    },
  }, async (request, reply) => {
    const { rotateSecret, overlapSeconds, ...change } = request.body;
    if (overlapSeconds !== undefined && !rotateSecret) {
      const message = 'only goes with rotateSecret';
      throw new Problem('invalid_request', `overlapSeconds ${message}.`, { errors: [{ field: 'body.overlapSeconds', message }] });
    }
    const webhook = await webhooks.change(request.params.id, change, rotateSecret ? overlapSeconds ?? dayInSeconds : undefined);
    return reply.header('cache-control', 'no-store').send({ ...present(webhook), ...(rotateSecret ? { secret: webhook.secret } : {}) });
  });

  app.delete('/webhooks/:id', {
    config: { access },
    schema: {
      operationId: 'deleteWebhook', tags, summary: 'Delete a webhook', description: 'What was still waiting for it is not sent.',
      params: IdParams, response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('unbound_key_required', 'webhook_not_found') },
    },
  }, async (request, reply) => {
    await webhooks.remove(request.params.id);
    return reply.code(204).send(null);
  });

  app.get('/webhooks/:id/deliveries', {
    config: { access },
    schema: {
      operationId: 'listWebhookDeliveries', tags, summary: 'List a webhook\'s deliveries',
      description: 'Newest first. `status=parked` lists those that failed for a day and are no longer tried.',
      params: IdParams, querystring: DeliveryQuerySchema,
      response: { 200: DeliveryPageSchema, ...problems('unbound_key_required', 'webhook_not_found', 'invalid_cursor') },
    },
  }, async (request) => {
    const { status, cursor, limit } = request.query;
    const { rows, nextCursor } = await webhooks.deliveries(request.params.id, status, cursor, limit);
    return { rows: rows.map(presentDelivery), nextCursor };
  });

  app.post('/webhooks/:id/deliveries/:delivery/retry', {
    config: { access },
    schema: {
      operationId: 'retryWebhookDelivery', tags, summary: 'Retry a parked or waiting delivery now', params: DeliveryParams,
      response: {
        202: Ref(DeliverySchema, 'Due now. An inactive webhook has to be made active first (409).'),
        ...problems('unbound_key_required', 'webhook_not_found', 'webhook_delivery_not_found', 'webhook_delivery_not_waiting'),
      },
    },
  }, async (request, reply) => reply.code(202).send(presentDelivery(await webhooks.retry(request.params.id, request.params.delivery))));
};

function present(webhook: Webhook) {
  const { id, url, events, description, active, inactiveReason, previousSecretUntil, createdAt, updatedAt } = webhook;
  const rotating = previousSecretUntil !== null && previousSecretUntil > new Date();
  return {
    id, url, events, description, active, inactiveReason, previousSecretUntil: rotating ? previousSecretUntil.toISOString() : null,
    createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString(),
  };
}

function presentDelivery(delivery: Delivery) {
  const { id, eventId, event, connectionId, status, attempts, nextAttemptAt, lastAttemptAt, lastStatus, lastError, deliveredAt, createdAt } = delivery;
  return {
    id, eventId, type: event.type, connectionId, status, attempts, nextAttemptAt: status === 'pending' ? nextAttemptAt.toISOString() : null,
    lastAttemptAt: lastAttemptAt?.toISOString() ?? null, lastStatus, lastError, deliveredAt: deliveredAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  };
}
