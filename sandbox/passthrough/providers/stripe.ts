import { bodyFields, routed } from './route.js';

const CUSTOMERS = [
  customer('cus_NffrFeUfNV2Hib', 'Northwind Traders', 'billing@northwind.example'),
  customer('cus_NffrFeUfNV2Hic', 'Contoso Ltd', 'accounts@contoso.example'),
];

function customer(id: string, name: unknown, email: unknown) {
  return { id, object: 'customer', created: 1_748_736_000, currency: 'usd', balance: 0, delinquent: false, name, email, livemode: false };
}

/** A little of Stripe's API. */
export const stripe = routed([
  { method: 'GET', path: /\/customers$/, answer: () => ({ object: 'list', url: '/v1/customers', has_more: false, data: CUSTOMERS }) },
  { method: 'GET', path: /\/customers\/([^/]+)$/, answer: ([id = '']) => CUSTOMERS.find((row) => row.id === id) ?? { ...CUSTOMERS[0], id } },
  {
    method: 'POST',
    path: /\/customers$/,
    answer: async (_groups, call) => {
      const { name = null, email = null } = await bodyFields(call);
      return customer('cus_NffrFeUfNV2Hid', name, email);
    },
  },
  {
    method: 'GET',
    path: /\/balance$/,
    answer: () => ({ object: 'balance', available: [{ amount: 248_310, currency: 'usd' }], pending: [{ amount: 19_990, currency: 'usd' }] }),
  },
]);
