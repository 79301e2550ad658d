*** Settings ***
Documentation       Keywords of SeleniumLibrary that its users use most, with ChromeDriver killed in between.
Library             OperatingSystem
Library             SeleniumLibrary    timeout=10
Suite Setup         Open Remote Browser
Suite Teardown      Close All Browsers
Test Setup          Go To    %{STANDARD}

*** Test Cases ***
Titles And Addresses
    Title Should Be    Standard
    Location Should Contain    /standard
    ${source}=    Get Source
    Should Contain    ${source}    Heading

Text And Elements
    Element Text Should Be    id:head    Heading
    Element Should Contain    id:text    Some bold
    Page Should Contain    next line
    Page Should Not Contain    nothing of this
    Page Should Contain Element    css:#form input    limit=8
    Element Should Be Visible    id:link
    Element Should Not Be Visible    id:hidden
    ${class}=    Get Element Attribute    id:head    class
    Should Be Equal    ${class}    a b
    ${count}=    Get Element Count    tag:option
    Should Be Equal As Integers    ${count}    2

Typing And Clearing
    [Setup]    Kill ChromeDriver
    Textfield Value Should Be    id:name    given
    Input Text    id:name    Ada
    Textfield Value Should Be    id:name    Ada
    Press Keys    id:name    END    !
    Textfield Value Should Be    id:name    Ada!
    Clear Element Text    id:name
    Textfield Value Should Be    id:name    ${EMPTY}
    Input Text    id:area    two lines
    Textarea Value Should Be    id:area    two lines

Checkboxes
    Checkbox Should Not Be Selected    id:check
    Select Checkbox    id:check
    Checkbox Should Be Selected    id:check
    Unselect Checkbox    id:check
    Checkbox Should Not Be Selected    id:check

Lists
    List Selection Should Be    id:choice    One
    Select From List By Label    id:choice    Two
    List Selection Should Be    id:choice    Two
    Select From List By Index    id:choice    0
    ${items}=    Get List Items    id:choice
    Should Be Equal    ${items}    ${{['One', 'Two']}}

Buttons And Links
    [Setup]    Kill ChromeDriver
    Element Should Be Enabled    id:go
    Element Should Be Disabled    id:off
    Click Button    id:go
    Title Should Be    Clicked
    Click Link    Red page
    Wait Until Location Contains    /red
    Title Should Be    Red
    Go Back
    Wait Until Page Contains    Heading

Frames
    Select Frame    id:frame
    Current Frame Should Contain    inner
    Unselect Frame
    Frame Should Contain    id:frame    inner
    Page Should Contain    Heading

Frame After The Death Of ChromeDriver
    Select Frame    id:frame
    Strike
    Current Frame Should Contain    inner
    Unselect Frame
    Element Text Should Be    id:head    Heading

Windows
    [Setup]    Kill ChromeDriver
    Execute Javascript    window.open("/red")
    ${handles}=    Get Window Handles
    Length Should Be    ${handles}    2
    Switch Window    NEW
    Title Should Be    Red
    Close Window
    Switch Window    MAIN
    Title Should Be    Standard

Window Of The Client After The Death Of ChromeDriver
    Execute Javascript    window.open("/red")
    Switch Window    NEW
    Strike
    Title Should Be    Red
    Close Window
    Switch Window    MAIN

Cookies
    Delete All Cookies
    Add Cookie    a    b
    Strike
    ${cookie}=    Get Cookie    a
    Should Be Equal    ${cookie.value}    b
    Delete Cookie    a
    ${cookies}=    Get Cookies
    Should Be Empty    ${cookies}

Alerts
    [Setup]    Kill ChromeDriver
    Execute Javascript    setTimeout(() => alert("look"), 0)
    Alert Should Be Present    look    timeout=10
    Execute Javascript    setTimeout(() => { document.title = prompt("who?"); }, 0)
    Input Text Into Alert    Ada    timeout=10
    Wait Until Keyword Succeeds    5 s    100 ms    Title Should Be    Ada

Scripts
    ${sum}=    Execute Javascript    return arguments[0] + 1    ARGUMENTS    ${41}
    Should Be Equal As Integers    ${sum}    42
    ${later}=    Execute Async Javascript    setTimeout(() => arguments[0]("later"), 50)
    Should Be Equal    ${later}    later

Waiting
    Execute Javascript    setTimeout(() => document.body.append("it is there"), 300)
    Wait Until Page Contains    it is there
    Execute Javascript    setTimeout(() => document.getElementById("hidden").style.display = "block", 300)
    Wait Until Element Is Visible    id:hidden
    Run Keyword And Expect Error    *did not appear*    Wait Until Page Contains    never    timeout=0.5

Mouse
    [Setup]    Kill ChromeDriver
    Mouse Over    id:head
    Mouse Down    id:go
    Mouse Up    id:go
    Double Click Element    id:head
    Click Element At Coordinates    id:head    5    5
    Scroll Element Into View    id:stale
    Drag And Drop By Offset    id:head    10    10

Pictures
    ${picture}=    Capture Page Screenshot
    File Should Exist    ${picture}
    ${picture}=    Capture Element Screenshot    id:head
    File Should Exist    ${picture}

Sizes
    Set Window Size    700    500
    Strike
    ${width}    ${height}=    Get Window Size
    Should Be Equal As Integers    ${width}    700
    ${x}=    Get Horizontal Position    id:head
    Should Be True    ${x} >= 0

Errors
    Run Keyword And Expect Error    *not found*    Click Element    id:nothing
    Run Keyword And Expect Error    *should have been*    Title Should Be    Other
    Run Keyword And Expect Error    *    Click Element    id:covered

*** Keywords ***
Open Remote Browser
    Open Browser    %{STANDARD}    chrome    remote_url=%{REMOTE}
    ...    options=add_argument("--headless=new"); add_argument("--no-sandbox"); add_argument("--window-size=900,700")

Strike
    Evaluate    urllib.request.urlopen($KILL).close()    modules=urllib.request

Kill ChromeDriver
    Go To    %{STANDARD}
    Strike

*** Variables ***
${KILL}             %{KILL}
