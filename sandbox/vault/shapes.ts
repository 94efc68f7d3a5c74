import { findPlatform } from '../catalogue/platforms.js';
import type { Connection } from './store.js';

/** A vault row as hosted Pica shows it. */
export function hostedRow(row: Connection): Record<string, unknown> {
  const { id, key, platform, name, environment, identity, identityType, state, tags, active, createdAt } = row;
  const description = findPlatform(platform)?.description ?? '';
  return {
    id, key, platform, platformVersion: 'v1', name, type: 'api', environment, identity, identityType, description, state, tags,
    version: '1.0.0', active, createdAt: new Date(createdAt).toISOString(),
  };
}

/** A vault row as the open-source server shows it: `_id`, epoch times, an object for `type`, no empty `tags`, no absent identity. */
export function ossRow(row: Connection): Record<string, unknown> {
  const { id, key, platform, name, environment, identity, identityType, state, tags, active, createdAt, updatedAt } = row;
  return {
    _id: id, key, platform, platformVersion: 'v1', type: { api: {} }, environment, ...(name !== null && { name }),
    ...(identity !== null && { identity, identityType }), ...(tags.length > 0 && { tags }),
    state, createdAt, updatedAt, version: '1.0.0', active, deprecated: false, deleted: false,
  };
}

/** The record that the widget's LINK_SUCCESS carries. */
export function widgetRecord(row: Connection): Record<string, unknown> {
  const { id, key, platform, name, environment, identity, identityType, state, tags, active, createdAt, updatedAt } = row;
  return {
    _id: id, key, platform, platformVersion: 'v1', environment, ...(identity !== null && { identity, identityType }),
    name: name ?? `${findPlatform(platform)?.name ?? platform} connection`,
    connectionDefinitionId: row.connectionDefinitionId, secretsServiceId: row.secretsServiceId,
    settings: { parseWebhookBody: true, showSecret: false, allowCustomEvents: false, oauth: row.oauth },
    throughput: { key: identity ?? 'default', limit: 1000 },
    createdAt, updatedAt, updated: false, version: '1.0.0', lastModifiedBy: 'system', changeLog: {},
    tags, active, deprecated: false, deleted: false, state,
  };
}
