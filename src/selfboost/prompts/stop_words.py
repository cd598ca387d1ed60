"""Words that are not keywords, by language: function words, the commonest verbs and generic words, days and months.

Written for this project and deliberately compact: words common to a whole corpus are also found by frequency. Left out:
less common forms of the listed verbs, and dialects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "de", "fr", "es", "it", "pt", "nl"]
"""English, German, French, Spanish, Italian, Portuguese, Dutch."""

_ENGLISH = """
    a about above according achieve achieved achieves across actually add added adding addition additional adds after
    afterwards again against ago ahead all allow allowed allowing allows almost alone along already also although always
    am amazing among amongst an and annoying another any anybody anyone anything anyway anywhere apart appear appeared
    appears are argue argued around as aside ask asked asking asks at available aware away back bad based be became
    because become becomes becoming been before began begin begins behind being believe believed believes below beneath
    beside besides best better between beyond big billion bit both bring brings broad broader brought bunch but by call
    called calls came can cannot carried carry certain choose chose chosen clear come comes coming compared comparing
    complete consider considered considering considers consist consisting consists contain contained containing contains
    continue continued continues continuing could couple decide decided decides dedicated depend depending depends
    designed despite did difference differences different do does doing down dozen due during each effort efforts eight
    either else elsewhere enable enabled enables enhance enhanced enhances enjoy enjoyed enough ensure ensures ensuring
    entire especially established etc even ever every everybody everyone everything everywhere example examples
    excellent except existing exists expect expected expects extra extreme fact fails fairly famous fantastic far
    favorite favourite feel feeling feels fell felt few fewer figure figured finding five follow followed following
    follows for former formerly forward found from full further furthermore gain gained gave general get gets getting
    give given gives giving go goes going gone good got gotten great had half handful happen happened happening happens
    hard has have having he hear heard held hello help helped helpful helping helps hence her here hers herself hey hi
    highest highly him himself his hmm hold holding holds hope how however huge hundred hundreds i idea ideas identify
    if important in include included includes including increasing indeed instead intend intended intends into introduce
    introduced involve involved involves is issues it its itself just kind kinds knew know knowing known knows lack
    large largest last late later latest latter lead leading leads least leave leaving led left less let lets level like
    liked likely lined little long longer look looked looking looks lose losing lost lot lots made main major make makes
    making many matter matters may maybe me mean means meant meanwhile meet meets mention mentioned mere met might
    million mine moment more moreover most mostly move moved moves much must my myself near nearby need needed needs
    neither never nevertheless new next nice nine no nobody non none nonetheless nor normal not note noted nothing now
    nowadays nowhere obtain obtained of off offer offered offering offers often oh ok okay old older oldest on once one
    ones only onto opposite or original other others otherwise ought our ours ourselves out outside over overall own
    part particular past people per perfect perform performed performing performs perhaps piece pieces place placed
    please pleased point possible presented presents pretty previous prior problem problems provide provided provides
    providing purpose purposes put puts quite range rather re reached ready real really receive received receives
    receiving recent recommend recommended regard regarding related remain remained remaining remains remember reported
    represent represents require required requires resides respective resulted resulting returned right said same sat
    say saying says see seeing seem seemed seems seen send sense sent serve served serves set sets seven several shall
    she short should show showed shown shows similar simple since sit sits six small so some somebody somehow someone
    something sometimes somewhat somewhere soon special specific spend spent spoke stand stands start started starting
    starts stated stay stayed stays still stood stuff such sufficient suggest suggested suggests suitable suppose
    supposed sure take taken takes taking talk talked talking tell tells ten tends than thank thanks that the their
    theirs them themselves then there thereby therefore these they thing things think thinking thinks this those though
    thought thousand thousands through throughout thus till time to together told too took top total totally toward
    towards tried tries true try trying turn turned turning turns two type types typical under understand unless unlike
    until up updated upon us use used useful uses using usual usually variety various versus very via wait waiting want
    wanted wanting wants was way ways we welcome well went were what whatever when whenever where whereas whereby
    wherever whether which whichever while who whoever whole whom whose why wide will with within without wonderful
    wondering worry worse worst worth would wrong yeah yes yet you your yours yourself yourselves day days hour hours
    minute minutes month months week weeks weekend year years yesterday tomorrow monday tuesday wednesday thursday
    friday saturday sunday january february april june july august september october november december mr mrs ms dr prof
    rev sir com http https www arent cant couldnt didnt doesnt dont isnt ive wasnt wont wouldnt
"""
_GERMAN = """
    ab aber alle allein allem allen aller allerdings alles als also am an ander andere anderem anderen anderer anderes
    anders auch auf aus außer außerdem bei beide beiden beim bereits besonders besser bevor bin bis bisher bist bleiben
    bleibt brauchen bzw da dabei dadurch dafür dagegen daher dahin damals damit danach daneben dann daran darauf daraus
    darf darin darüber darum darunter das dass davon davor dazu dein deine deinem deinen deiner dem demnach den denen
    denn dennoch der deren des deshalb dessen desto dich die dies diese dieselbe diesem diesen dieser dieses dir doch
    dort drei du durch dürfen eben ebenso eher eigene eigenen eigentlich ein einander eine einem einen einer eines
    einfach einige einigen einiger einiges einmal eins einzige entweder er erst erste ersten es etwa etwas euch euer
    eure falls fast ferner folgende folgenden für gab ganz ganze ganzen gar geben gegen gegenüber gehen geht gehört
    gemacht genau genug gerade gestern gern gesagt gewesen gibt ging gleich große großen großer großes gut gute guten
    guter haben habe hat hatte hatten hätte hätten her heute hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren
    ihrer ihres im immer in indem innerhalb ins insbesondere ist ja je jede jedem jeden jeder jedes jedoch jemand jene
    jenem jenen jener jenes jetzt kam kann kaum kein keine keinem keinen keiner keines kommen kommt können konnte
    konnten könnte könnten kurz lange lassen lässt letzte letzten liegt machen macht mal man manche manchmal mehr
    mehrere mein meine meinem meinen meiner meist meisten mich mir mit möchte mögen möglich muss müssen musste mussten
    nach nachdem nämlich natürlich neben nein neu neue neuen neuer neues nicht nichts nie niemals niemand noch nun nur
    ob obwohl oder oft ohne rund sagen sagt sagte schon sehen sehr sei seien sein seine seinem seinen seiner seines seit
    seitdem selbst sich sicher sie sieht sind so sobald sodass sogar solche solchen solcher soll sollen sollte sollten
    somit sondern sonst sowie sowohl statt stehen steht stets über überhaupt um und uns unser unsere unserem unseren
    unserer unter viel viele vielen vieler vielleicht vom von vor vorher während wann war wäre waren wären warum was
    wegen weil weit weiter weitere weiteren weiterhin welche welchem welchen welcher welches wenig wenige weniger wenn
    wer werde werden weshalb wie wieder wir wird wirklich wo wobei wohl wollen wollte wollten worden wurde wurden würde
    würden zu zuerst zum zur zurück zusammen zwar zwei zwischen herr herrn frau dr prof jahr jahre jahren tag tage tagen
    woche wochen monat monate uhr montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz april
    mai juni juli august september oktober november dezember
"""
_FRENCH = """
    à afin ai aie aient ailleurs ainsi ait aller alors année années ans après as assez au aucun aucune aujourd auquel
    aura aurait auront aussi aussitôt autant autour autre autres autrement aux auxquelles auxquels avaient avais avait
    avant avec avoir avons avez ayant beaucoup bien bon bonne bons car ce ceci cela celle celles celui cependant certain
    certaine certaines certains ces cet cette ceux chacun chacune chaque chez ci combien comme comment contre dans
    davantage de dedans dehors déjà demain depuis dernier dernière derniers derrière des dès desquels dessous dessus
    deux deuxième devant devenir devient devoir devrait dire dit doit doivent donc donne donner dont du duquel durant
    elle elles en encore enfin ensuite entre envers es est et étaient étais était étant été être eu eux eut fait faire
    faisait faut fois font fut furent grâce grand grande grandes grands hier hors hui ici il ils jamais je jour jours
    jusqu jusque la là laquelle le lequel les lesquelles lesquels leur leurs lors lorsqu lorsque lui ma maintenant mais
    malgré me même mêmes mes mettre mieux mis moi moins mois mon ne néanmoins ni nom nombreuses nombreux non nos
    notamment notre nôtre nous nouveau nouveaux nouvelle nouvelles on ont ou où oui par parce parfois parmi part partir
    partout pas pendant permet petit petite peu peut peuvent peux plupart plus plusieurs plutôt point pour pourquoi
    pourrait pouvait pouvoir premier première près presque prendre puis puisqu puisque qu quand quant que quel quelle
    quelles quelqu quelque quelques quels qui quoi quoique rien sa sans sauf se selon semble sera serait seront ses seul
    seule seulement si sien soi soient soit sommes son sont souvent suis sur surtout ta tant te tel telle telles tels
    tes toi ton toujours tous tout toute toutefois toutes très trois trop tu un une va vers veut vient voici voilà voir
    vont vos votre vôtre vous vraiment madame mademoiselle monsieur semaine semaines heure heures lundi mardi mercredi
    jeudi vendredi samedi dimanche janvier février mars avril mai juin juillet août septembre octobre novembre décembre
"""
_SPANISH = """
    a acerca además ahí ahora al algo alguien algún alguna algunas alguno algunos allá allí ambos ante antes año años
    aquel aquella aquellas aquellos aquí así aún aunque ayer bajo bastante bien buen buena bueno cabe cada casi cierta
    cierto como cómo con conmigo contigo contra cosa cosas cual cuál cuales cualquier cualquiera cuando cuándo cuanto
    cuánto cuya cuyo da dan dar de debe deben debido decir del demás dentro desde después detrás dice dicen dicho día
    días donde dónde dos durante e el él ella ellas ello ellos embargo en encima encuentra entonces entre era eran eres
    es esa esas ese eso esos está estaba estaban estado están estar estas este esto estos estoy etc existe fin fue fuera
    fueron gran grande grandes ha haber había habían hace hacen hacer hacia han hasta hay haya he hecho hemos hizo hora
    horas hoy igual incluso ir jamás junto la las le les lo los luego más mayor me medio mejor menos mes meses mediante
    mi mí mía mientras mío mis misma mismas mismo mismos modo momento mucha muchas mucho muchos muy nada nadie ni ningún
    ninguna ninguno no nos nosotras nosotros nuestra nuestras nuestro nuestros nueva nuevas nuevo nuevos nunca o os otra
    otras otro otros para parece parte pero poca poco pocos podemos poder podía podría por porque posible primer primera
    primero pronto propia propio próximo pudo puede pueden pues que qué quedó quien quién quienes quiere sabe saber se
    sea sean según segunda segundo ser será serán sería si sí sido siempre siendo siguiente sin sino sobre sola
    solamente solo sólo somos son soy su sus suya suyo tal tales también tampoco tan tanta tanto te tener tenía tengo ti
    tiene tienen toda todas todavía todo todos total tras través tres tu tú tus tuvo última último últimos un una unas
    uno unos usted ustedes va vamos van varias varios veces ver vez vosotros y ya yo don doña señor señora semana
    semanas lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto
    septiembre octubre noviembre diciembre
"""
_ITALIAN = """
    a abbia abbiamo ad agli ai al alcuna alcune alcuni alcuno all alla alle allo allora altra altre altri altro ampio
    anche ancora anni anno appena assai attraverso avanti avere aveva avevano avrà avuto ben bene benché bensì buona
    buono c cambio cento che chi chiunque ci ciascuno ciò cioè circa coi col come comunque con contro cosa cose così cui
    da dà dagli dai dal dall dalla dalle dallo dare de degli dei del dell della delle dello dentro deve devono di dice
    dietro dire disse diversi diverso dopo dove dovrebbe due dunque durante e è ecc ecco ed egli ella entrambi era erano
    essa esse essere essi esso fa fanno fare fatto fin finché fine fino forse fosse fra fu fuori furono già giorni
    giorno giù gli gran grande grandi ha hanno ho i ieri il in infatti infine inoltre insieme intanto invece io l la là
    lo loro le lei li lì lui lungo ma mai me medesimo meglio meno mentre mesi mese mi mia mie miei mio modo molta molte
    molti molto ne né negli nei nel nell nella nelle nello nemmeno neppure nessun nessuna nessuno niente no noi non
    nonostante nostra nostre nostri nostro nulla nuova nuove nuovi nuovo o od ogni ognuno oggi oltre oppure ora ore
    ossia otto parte per perché perciò perfino però persino piccolo più piuttosto po poca poche pochi poco poi poiché
    possa possibile possono posto potrebbe prima primo proprio può pure qua qual qualche qualcosa qualcuno quale quali
    qualsiasi quando quanta quanti quanto quasi quel quell quella quelle quelli quello questa queste questi questo qui
    quindi s sa sarà saranno sarebbe scorsa scorso se sé secondo sei sembra sempre senza si sì sia siamo siano sino sono
    sopra soprattutto sotto sta stata state stati stato stesse stessi stesso stanno stessa su sua subito sue sugli sui
    sul sull sulla sulle sullo suo suoi tale tali tanta tante tanti tanto te tempo ti tra tramite tranne tre troppo tu
    tua tue tuo tuoi tutta tuttavia tutte tutti tutto un una uno va vai verso vi via viene vengono voi volta volte
    vostra vostro vuole signor signora signore settimana settimane lunedì martedì mercoledì giovedì venerdì sabato
    domenica gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
"""
_PORTUGUESE = """
    a à abaixo acerca acima agora ah ainda além algo alguém algum alguma algumas alguns ali ano anos ante antes ao aos
    apenas após aquela aquelas aquele aqueles aqui aquilo as às assim até atrás através bastante bem boa bom cada casa
    caso cerca certa certo cima coisa coisas com como conforme conta contra contudo cuja cujo da daquele dar das de
    debaixo dela delas dele deles demais dentro depois desde dessa desse desta deste deve devem dever dia dias disse
    disso disto diz dizer do dois dos duas durante e é ela elas ele eles em embora enquanto então entre era eram és essa
    essas esse esses esta está estamos estão estar estas estava estavam este estes esteve estou etc eu faz fazem fazer
    feita feito fez fim foi for fora foram fosse grande grandes há haver havia hoje hora horas isso isto já jamais la lá
    lhe lhes logo lo longo lugar maior mais mas me meio melhor menor menos mês meses mesma mesmas mesmo mesmos meu meus
    mim minha minhas modo muita muitas muito muitos na nada não naquele nas nela nele nem nenhum nenhuma nessa nesse
    nesta neste no nos nós nossa nossas nosso nossos nova novas novo novos num numa nunca o onde ontem os ou outra
    outras outro outros para parte pela pelas pelo pelos pequeno per perante pode podem poder podia pois por porém
    porque porquê possível possui pouca pouco poucos pouquíssimo primeira primeiro própria próprio próximo pude pôde
    qual quais qualquer quando quanto quase quatro que quê quem quer são se segundo seja sejam sem sempre sendo ser será
    serão seria seu seus si sido sim só sob sobre somente sou sua suas tal tais talvez também tampouco tanta tanto tão
    te tem têm temos tenha tenho ter teve ti tinha tinham toda todas todavia todo todos três tu tua tudo última último
    um uma umas uns vai vão várias vários vem ver vez vezes você vocês vos dom dona doutor senhor senhora semana semanas
    segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo janeiro fevereiro março abril maio
    junho julho agosto setembro outubro novembro dezembro
"""
_DUTCH = """
    aan achter af al alle alleen alles als altijd andere anders behalve beide beneden ben bent bij bijna bijvoorbeeld
    binnen blijft blijven boven buiten daar daarbij daarmee daarna daarom daardoor daarvan daarvoor dan dat de den der
    derde deze die dit doen doet door dus echt echter een één eens eerste eerst eigen elk elke en enige enkele er erg
    ergens even gaan gaat gaf geen gedaan gehad geven geweest geworden ging gisteren goed goede graag groot grote had
    hadden heb hebben hebt heeft heel hele hem hen het hetzelfde hier hierbij hij hoe hoeveel hoewel hun iedere iedereen
    iemand iets ik in inmiddels is ja je jij jou jouw juist jullie kan komen komt kon konden krijgen krijgt kunnen kunt
    kwam laat laatste lang langs later laten liever maar maken maakt maakte mag me meer meest meestal men met mij mijn
    minder misschien moest moet moeten mogelijk mogen na naar naast net niemand niet niets nieuw nieuwe nog nooit nou nu
    of om omdat omhoog onder ondanks ongeveer ons onze ook op opnieuw over overal per precies samen sinds slechts
    sommige soms staan staat steeds te tegen ten tenzij ter terug terwijl tijdens toch toe toen tot totdat tussen twee
    tweede u uit uw vaak van vanaf vanuit vanwege veel ver verder verschillende via volgende volgens voor vooral voordat
    vroeger waar waarbij waardoor waarin waarmee waarom waarop waarvan wanneer want waren was wat we weer weet weg wel
    welk welke werd werden wie wij wil wilde willen word worden wordt zal ze zeer zeggen zegt zei zelf zelfs zich
    zichzelf zie zien ziet zij zijn zo zoals zodat zonder zou zouden zowel zullen heer mevrouw meneer mijnheer dag dagen
    week weken maand maanden jaar jaren uur maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari
    maart april mei juni juli augustus september oktober november december
"""
_LISTS: Mapping[Language, str] = {
    "en": _ENGLISH,
    "de": _GERMAN,
    "fr": _FRENCH,
    "es": _SPANISH,
    "it": _ITALIAN,
    "pt": _PORTUGUESE,
    "nl": _DUTCH,
}
STOP_WORDS: Mapping[Language, frozenset[str]] = {language: frozenset(text.split()) for language, text in _LISTS.items()}
"""Lower-case."""
_NO_ADVERBS = """
    ally anomaly apply assembly belly bully butterfly comply daily dolly early elderly family folly friendly grizzly
    gully homily italy jelly july lily melancholy monopoly multiply oily poly rally reply supply tally ugly weekly
"""
NO_ADVERBS = frozenset(_NO_ADVERBS.split())
"""English words in -ly that may be keywords; the rest are taken for adverbs."""
