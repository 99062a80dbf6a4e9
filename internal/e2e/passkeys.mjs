// A security key is registered, signs a vote, and the act is carried out. Run by
// TestBrowser_SignedVote, which gives REEVE_E2E_READY, REEVE_TEST_BROWSER and
// REEVE_E2E_PACK, the file that the evidence pack is written to.
import fs from 'node:fs';
import { api, check, finding, findings, go, inspect, launch, link, person, putPolicy, ready, sees, signIn, submit, vote } from './person.mjs';

const local = (u) => u.replace('//127.0.0.1:', '//localhost:');
const home = local(ready.console_url);

/** authenticator is a security key of the browser's own making. */
async function authenticator(page, verified = true) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', { options: { protocol: 'ctap2', transport: 'usb', hasUserVerification: true, isUserVerified: verified, automaticPresenceSimulation: true } });
  return { verify: (yes) => cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: yes }), keys: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials };
}

const policy = { id: 'signed-credits', title: 'Credits need a signed vote', actions: ['tenant.credit'], mode: 'enforce',
  require: { all_of: [{ group: 'gov_approver', approvals: 1 }], decide_within: '24h', execute_within: '24h', signed: true, personal_key: true } };

const browser = await launch(process.env.REEVE_TEST_BROWSER);
try {
  let where = 'a policy nobody could fulfil';
  const early = await putPolicy(policy, 'gov_approver_2').then(() => '', String);
  check(early.includes('422') && early.includes('without a security key'), where, `is answered ${early}`);

  where = 'security keys on an IP address';
  const ip = await person(browser, 'noor at the IP address');
  await signIn(ip, await link('noor', 'gov_approver_2'), 'Noor');
  await go(ip, '/passkeys');
  await sees(ip, where, 'Open this page at http://localhost:');
  check(await ip.getByRole('button', { name: 'Register' }).count() === 0, where, 'a key can be registered');
  await ip.context().close();

  where = 'registering a key';
  const noor = await person(browser, 'noor');
  const key = await authenticator(noor);
  await signIn(noor, local(await link('noor', 'gov_approver_2')), 'Noor');
  await noor.goto(home + '/passkeys');
  await inspect(noor, 'security keys, none');
  await noor.getByLabel('Name').fill('Blue key on my ring');
  await noor.getByRole('button', { name: 'Register' }).click();
  await sees(noor, where, 'The key is registered.');
  await sees(noor, where, 'works on localhost');
  check((await key.keys()).length === 1, where, 'the authenticator has no key');
  await inspect(noor, 'security keys');
  await noor.getByLabel('Name').fill('The same again');
  await noor.getByRole('button', { name: 'Register' }).click();
  await sees(noor, where, 'This security key is registered already.');

  where = 'a vote that is signed';
  await putPolicy(policy, 'gov_approver_2');
  const tenants = await api('cs_agent', 'GET', '/tenants?status=active&limit=20');
  let held;
  for (const t of tenants.items) {
    held = await api('cs_agent', 'POST', `/tenants/${t.id}/credits`, { amount: '3.00', currency: 'EUR', reason: 'Outage on Monday' }).catch(() => null);
    if (held?.approval) break;
  }
  if (!held?.approval) throw new Error('nothing was held');
  const unsigned = await vote('gov_approver', held.approval).then(() => '', String);
  check(unsigned.includes('403') && unsigned.includes('signed by your security key'), where, `unsigned it is answered ${unsigned}`);
  const keyless = await vote('gov_approver_2', held.approval).then(() => '', String);
  check(keyless.includes('403'), where, `without a key it is answered ${keyless}`);

  await noor.goto(`${home}/approvals/${held.approval}`);
  await inspect(noor, 'an approval to be signed');
  await key.verify(false);
  await noor.getByRole('button', { name: 'Sign and approve' }).click();
  await sees(noor, where, 'The security key was not used. Try again.');
  await key.verify(true);
  await noor.getByLabel('Comment').fill('Signed by my own key');
  await noor.getByRole('button', { name: 'Sign and approve' }).click();
  await sees(noor, where, 'Approved and executed.');
  await sees(noor, where, ', signed');
  await inspect(noor, 'an approval that was signed');
  const done = await api('super_admin', 'GET', `/approvals/${held.approval}`);
  check(done.state === 'executed' && done.votes.length === 1 && done.votes[0].signed_by, where, `it is ${done.state}`);

  where = 'a page without a script';
  const plain = await person(browser, 'noor without a script', { javaScriptEnabled: false });
  await signIn(plain, local(await link('noor', 'gov_approver_2')), 'Noor');
  await plain.goto(home + '/passkeys');
  check(await plain.getByRole('button', { name: 'Register' }).isDisabled(), where, 'a key seems to be registrable');
  await sees(plain, where, 'this needs JavaScript');
  const again = await api('cs_agent', 'POST', `/tenants/${done.tenant}/credits`, { amount: '4.00', currency: 'EUR', reason: 'Outage on Tuesday' });
  await plain.goto(`${home}/approvals/${again.approval}`);
  check(await plain.getByRole('button', { name: 'Sign and approve' }).isDisabled(), where, 'a vote seems to be possible');
  await sees(plain, where, 'a signed vote needs JavaScript');
  await submit(plain, plain.getByRole('button', { name: 'Deny' }));
  check((await api('super_admin', 'GET', `/approvals/${again.approval}`)).state === 'denied', where, 'it cannot be stopped');

  where = 'the evidence pack';
  const pack = await api('super_admin', 'POST', '/evidence/packs', { kind: 'action', subject: held.approval, reason: 'Audit of the quarter' });
  const file = await fetch(`${ready.api_url}/evidence/packs/${pack.id}/file`, { headers: { authorization: `Bearer ${ready.keys.super_admin}` } });
  fs.writeFileSync(process.env.REEVE_E2E_PACK, Buffer.from(await file.arrayBuffer()));

  where = 'revoking a key';
  await noor.goto(home + '/passkeys');
  await noor.locator('details.card summary').first().click();
  await noor.getByLabel('Why it ends').fill('Lost on the train');
  await submit(noor, noor.getByRole('button', { name: 'Revoke' }));
  await sees(noor, where, 'The key works no more.');
} catch (e) {
  finding('signed votes', String(e.stack ?? e).split('\n').slice(0, 12).join('\n  '));
} finally {
  await browser.close();
}
if (findings.length > 0) {
  console.log(`${findings.length} findings`);
  process.exit(1);
}
