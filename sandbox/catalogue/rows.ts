import type { Environment } from '../identity.js';
import { stableId } from '../ids.js';
import { connectionForm, markUrl, type Platform } from './platforms.js';

/** 2025-01-01, so that the catalogue never changes between two calls. */
const ACTIVATED_AT = Date.UTC(2025, 0, 1);

/** A row of `GET /v1/available-connectors`. */
export function connectorRow(platform: Platform, root: string) {
  const { platform: id, name, category, description, oauth, tools } = platform;
  return {
    id: platform.connectionDefinitionId, name, key: `api::${id}::v1`, platform: id, platformVersion: 'v1', status: 'production',
    description, category, image: markUrl(root, platform), tags: [category.toLowerCase()], oauth, tools, version: '1.0.0', active: true,
  };
}

/** A row of an `authkit` or `one` token page: the connector, plus what the widget needs to offer it. */
export function tokenPageRow(platform: Platform, root: string, environment: Environment) {
  const { platform: type, name: title, connectionDefinitionId } = platform;
  return { ...connectorRow(platform, root), type, title, connectionDefinitionId, environment, form: connectionForm(platform) };
}

/** An entry of `connectedPlatforms` in the `embed` protocol. */
export function connectedPlatform(platform: Platform, root: string, environment: Environment) {
  const { platform: type, name: title, category, description, oauth, connectionDefinitionId } = platform;
  return {
    type, title, connectionDefinitionId, active: true, image: markUrl(root, platform), activatedAt: ACTIVATED_AT,
    secretsServiceId: stableId('secrets', `${environment} ${type}`), environment, category, description, oauth, form: connectionForm(platform),
  };
}

/** A row of `GET /v1/public/connection-definitions`. */
export function connectionDefinition(platform: Platform, root: string) {
  const { platform: id, name, category, description, oauth } = platform;
  const spec = { title: name, description, platform: id, category, image: markUrl(root, platform), tags: [] };
  return {
    _id: platform.connectionDefinitionId, platformVersion: 'v1', platform: id, type: 'api', name, authMethod: null, authSecrets: [],
    frontend: { spec, connectionForm: { name: 'Connect', description: `Connect ${name}`, formData: connectionForm(platform) } },
    settings: { parseWebhookBody: true, showSecret: false, allowCustomEvents: false, oauth },
    hidden: false, createdAt: ACTIVATED_AT, updatedAt: ACTIVATED_AT, version: '1.0.0', tags: [], active: true, deprecated: false, deleted: false,
  };
}
