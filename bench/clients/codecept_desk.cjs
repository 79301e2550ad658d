Feature("desk");

Scenario("types on a page, and reads it again", async ({ I }) => {
  I.amOnPage(process.env.PAGE);
  I.seeInTitle("Desk");
  I.fillField("#name", "typed");
  await I.grabTitle();
  await fetch(process.env.KILL);
  I.seeInField("#name", "typed");
  I.click("button");
  I.seeInTitle("Clicked");
});
