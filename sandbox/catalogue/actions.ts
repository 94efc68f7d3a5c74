import { stableId } from '../ids.js';
import { ACTION_DATA } from './action-data.js';

/** An action of a platform, as the knowledge lists it. */
export interface Action {
  id: string;
  platform: string;
  title: string;
  key: string;
  modelName: string;
  method: string;
  /** With `{{name}}` for every path parameter. */
  path: string;
  baseUrl: string;
}

/** Every action of the catalogue. */
export const ACTIONS: readonly Action[] = Object.entries(ACTION_DATA).flatMap(([platform, { baseUrl, actions }]) =>
  actions.map(([title, method, path, modelName]) => ({
    id: stableId('conn_mod_def', `${platform} ${method} ${path}`),
    platform,
    title,
    key: `api::${platform}::v1::${modelName}::${title.toLowerCase().replaceAll(' ', '_')}`,
    modelName,
    method,
    path,
    baseUrl,
  })),
);

const byId = new Map(ACTIONS.map((action) => [action.id, action]));

/** The action of an id; undefined for an unknown one. */
export function findAction(id: string): Action | undefined {
  return byId.get(id);
}
