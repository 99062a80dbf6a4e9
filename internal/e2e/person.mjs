// What people and scripts do on the demo: ask its API, sign in, press buttons.
import { check, finding, findings, inspect, launch, person, picture } from './browser.mjs';

export { check, finding, findings, inspect, launch, person, picture };
export const ready = JSON.parse(process.env.REEVE_E2E_READY);
export const home = ready.console_url;

export async function api(key, method, path, body) {
  const r = await fetch(ready.api_url + path, { method, headers: { authorization: `Bearer ${ready.keys[key]}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  const text = await r.text();
  if (!r.ok) throw new Error(`${method} ${path} as ${key}: ${r.status} ${text}`);
  return text ? JSON.parse(text) : {};
}

export async function vote(key, id) {
  const { digest } = await api(key, 'GET', `/approvals/${id}`);
  return api(key, 'POST', `/approvals/${id}/votes`, { decision: 'approve', digest, comment: 'Looked at' });
}

/** putPolicy back-tests a policy, asks for it with the report, and has it approved. */
export async function putPolicy(policy, approver) {
  const day = (n) => new Date(Date.now() - n * 86400e3).toISOString();
  const { hash } = await api('super_admin', 'POST', `/policies/${policy.id}/back-tests`, { policy, from: day(90), to: day(0) });
  const edit = await api('super_admin', 'PUT', `/policies/${policy.id}`, { policy: { ...policy, back_test: hash } });
  if (edit.approval) await vote(approver, edit.approval);
}

/** A link for somebody else is asked for by one person and approved by another. */
export async function link(who, approver) {
  const held = await api('super_admin', 'POST', `/users/${who}/sign-in-link`, { reason: 'A new machine' });
  const done = await vote(approver, held.approval);
  return (await api('super_admin', 'POST', `/sign-in-links/${done.result.link}/show`)).url;
}

export async function signIn(page, url, name) {
  await page.goto(url);
  check((await page.title()).includes(name), 'sign-in', `the page is for ${await page.title()}, not ${name}`);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((u) => !u.pathname.includes('/signin'));
}

export const go = (page, path) => page.goto(home + path);
export const sees = async (page, where, text) => {
  try { await page.getByText(text).first().waitFor({ timeout: 10000 }); } catch { finding(where, `does not show "${text}" at ${page.url()}`); await picture(page, `${where} missing`); }
};
export const submit = async (page, button) => { await Promise.all([page.waitForLoadState('load'), button.click()]); await page.waitForLoadState('networkidle'); };
