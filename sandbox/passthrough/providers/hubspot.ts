import { bodyFields, routed } from './route.js';

const CONTACTS = [
  contact('101', { firstname: 'Maria', lastname: 'Johnson', email: 'maria@northwind.example', company: 'Northwind' }),
  contact('102', { firstname: 'Brian', lastname: 'Halligan', email: 'brian@contoso.example', company: 'Contoso' }),
  contact('103', { firstname: 'Chidi', lastname: 'Okafor', email: 'chidi@fabrikam.example', company: 'Fabrikam' }),
];

function contact(id: string, properties: Record<string, unknown>) {
  return { id, properties, createdAt: '2025-04-02T09:12:00.000Z', updatedAt: '2025-06-17T14:30:00.000Z', archived: false };
}

/** A little of HubSpot's API. */
export const hubspot = routed([
  {
    method: 'GET',
    path: /objects\/contacts$/,
    answer: () => ({ results: CONTACTS, paging: { next: { after: '103', link: '?after=103' } } }),
  },
  { method: 'GET', path: /objects\/contacts\/(\d+)$/, answer: ([id = '']) => CONTACTS.find((row) => row.id === id) ?? { ...CONTACTS[0], id } },
  {
    method: 'POST',
    path: /objects\/contacts$/,
    answer: async (_groups, call) => contact('104', ((await bodyFields(call)).properties as Record<string, unknown> | undefined) ?? {}),
  },
]);
