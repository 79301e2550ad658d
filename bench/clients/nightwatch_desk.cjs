module.exports = {
  "types on a page, and reads it again": (browser) => {
    browser
      .navigateTo(process.env.PAGE)
      .assert.titleEquals("Desk")
      .setValue("#name", "typed")
      .perform(() => fetch(process.env.KILL))
      .assert.valueEquals("#name", "typed")
      .click("button")
      .assert.titleEquals("Clicked")
      .end();
  },
};
